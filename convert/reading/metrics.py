"""PyTorch's files of metrics' networks, under the names of `aa_jax.metrics`.

Norms are folded into the convolutions before them; every tensor is used or left out for a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from flax import traverse_util

from aa_jax.metrics import i3d, inception, lpips, norms, resnet3d
from aa_jax.metrics.weights import Params
from convert import ConvertError
from convert.reading import spelling
from convert.reading.tensors import Source, Tensor

EXPECTED: Mapping[str, Callable[[], Params]] = {
    "lpips-alex": lambda: lpips.expected("alex"),
    "lpips-vgg": lambda: lpips.expected("vgg"),
    "i3d": i3d.expected,
    "inception": inception.expected,
    "resnet3d": resnet3d.expected,
}
"""By network: the shapes of our parameters."""

LEFT_OUT = (
    (r"lins\.\d+\..*", "the same as lin0, lin1, ..."),
    (r"scaling_layer\..*", "constants"),
    (r"classifier\..*|fc\..*|AuxLogits\..*", "classes, which the metric does not ask for"),
    (r".*\.num_batches_tracked", "a counter of training"),
)
"""Names of tensors without counterpart, and why they are left out."""


def arrays(network: str, source: Source, heads: Source | None = None) -> dict[str, np.ndarray]:
    """A network's parameters by their names joined with dots, in float32.

    Args:
      network: one of `EXPECTED`.
      source: the file that holds it.
      heads: a file with LPIPS's heads, where they are not in the same.

    Raises:
      ConvertError: a tensor is missing, has another shape, or would have no use.
    """
    tensors = dict(spelling.without_prefix(source, "module."))
    tensors |= heads or {}
    path = source.path
    shapes = traverse_util.flatten_dict(EXPECTED[network](), sep=".")
    taken = _Taken(tensors, path)
    if network.startswith("lpips"):
        result = _lpips(taken, shapes)
    else:
        result = _folded(network, taken, shapes)
    taken.check_rest(network)
    for name, x in result.items():
        if x.shape != shapes[name].shape:
            raise ConvertError(
                f"{path}: not {network}: {name} would be {x.shape}, {shapes[name].shape} is wanted"
            )
    return result


class _Taken:
    """Tensors of which notice is taken."""

    def __init__(self, tensors: Mapping[str, Tensor], path: object):
        self.tensors, self.path = tensors, path
        self._used: set[str] = set()

    def __call__(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise ConvertError(f"{self.path}: {name} is missing")
        self._used.add(name)
        return np.asarray(self.tensors[name].read(), np.float32)

    def kernel(self, name: str) -> np.ndarray:
        """[f, c, *taps] as [*taps, c, f]."""
        x = self(f"{name}.weight")
        if x.ndim < 3:
            raise ConvertError(f"{self.path}: {name}.weight {x.shape} is no convolution's")
        return np.moveaxis(x, (0, 1), (-1, -2))

    def check_rest(self, network: str) -> None:
        rest = self.tensors.keys() - self._used
        known = re.compile("|".join(f"(?:{pattern})" for pattern, _ in LEFT_OUT))
        if odd := sorted(name for name in rest if not known.fullmatch(name)):
            raise ConvertError(
                f"{self.path}: not {network}: has no use for {odd[0]} and {len(odd) - 1} more"
            )


def _lpips(taken: _Taken, shapes: Iterable[str]) -> dict[str, np.ndarray]:
    """Convolutions are numbered by their places among the layers of torchvision's networks."""
    places = {}
    for name in taken.tensors:
        if match := re.fullmatch(r"(?:net\.slice\d\.|features\.)(\d+)\.weight", name):
            places[int(match[1])] = name.removesuffix(".weight")
    result = {}
    for index, place in enumerate(sorted(places)):
        result[f"trunk.conv_{index}.kernel"] = taken.kernel(places[place])
        result[f"trunk.conv_{index}.bias"] = taken(f"{places[place]}.bias")
    for index in range(sum(name.startswith("head_") for name in shapes)):
        if f"lin{index}.model.1.weight" not in taken.tensors:
            raise ConvertError(
                f"{taken.path}: holds no heads (lin{index}.model.1.weight); give the file of the "
                "package lpips, weights/v0.1/*.pth, as --heads"
            )
        result[f"head_{index}"] = taken(f"lin{index}.model.1.weight").reshape(-1)
    if odd := sorted(set(shapes) ^ result.keys()):
        raise ConvertError(f"{taken.path}: of another network; {odd[0]} fits nothing")
    return result


def _folded(network: str, taken: _Taken, shapes: Iterable[str]) -> dict[str, np.ndarray]:
    result = {}
    for name in sorted({name.rpartition(".")[0] for name in shapes}):
        layer, norm = _THEIRS[network](name)
        kernel = taken.kernel(layer)
        if norm is None:
            bias = taken(f"{layer}.bias")
        else:
            kernel, bias = norms.folded(
                kernel,
                mean=taken(f"{norm}.running_mean"),
                variance=taken(f"{norm}.running_var"),
                scale=taken(f"{norm}.weight"),
                shift=taken(f"{norm}.bias"),
                epsilon=norms.EPSILON[network],
            )
        result |= {f"{name}.kernel": kernel, f"{name}.bias": bias}
    return result


# --- names of convolutions and norms there --------------------------------------------------------


def _i3d(name: str) -> tuple[str, str | None]:
    if name.startswith("Logits."):
        return "logits.conv3d", None
    if match := re.fullmatch(r"(\w+)\.Branch_(\d)\.Conv3d_0([ab])_\dx\d", name):
        block, branch, letter = match.groups()
        name = f"{block}.b{branch}{letter if branch != '0' else ''}"
    return f"{name}.conv3d", f"{name}.bn"


def _inception(name: str) -> tuple[str, str]:
    return f"{name}.conv", f"{name}.bn"


def _resnet3d(name: str) -> tuple[str, str]:
    block, _, layer = name.rpartition(".")
    prefix = f"{block.replace('_', '.')}." if block else ""
    if layer == "downsample":
        return f"{prefix}downsample.0", f"{prefix}downsample.1"
    return prefix + layer, prefix + layer.replace("conv", "bn")


_THEIRS: Mapping[str, Callable[[str], tuple[str, str | None]]] = {
    "i3d": _i3d,
    "inception": _inception,
    "resnet3d": _resnet3d,
}
