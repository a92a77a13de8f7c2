"""PyTorch state dicts to our parameter trees and back.

Our paths are the keys of diffusers, AnimateDiff and Moore-AnimateAnyone with list indices joined by
an underscore: `down_blocks.0.resnets.1.conv1.weight` is `down_blocks_0/resnets_1/conv1/kernel`.
Convolution kernels go from [out, in, y, x] to [y, x, in, out], dense ones from [out, in] to
[in, out]. VAE and image encoder are Flax modules of diffusers and transformers, with a few names of
their own that `to_key` knows too. Plain numpy.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

LISTS = (
    "attention_blocks",
    "attentions",
    "blocks",
    "controlnet_down_blocks",
    "down_blocks",
    "downsample",
    "downsamplers",
    "layer1",
    "layer2",
    "layer3",
    "layer4",
    "motion_modules",
    "net",
    "norms",
    "resnets",
    "to_out",
    "transformer_blocks",
    "up_blocks",
    "upsamplers",
)
"""Names that carry an index. (`linear_1` of the time embedding is a name of its own.)"""

POSITION_TABLE = ".pos_encoder.pe"
"""Ending of the motion modules' position tables, which are constants here."""


def to_path(key: str, ndim: int) -> tuple[str, ...]:
    """Path of the parameter that a state-dict key with an array of `ndim` axes becomes."""
    *modules, leaf = key.split(".")
    path: list[str] = []
    for name in modules:
        if not name.isdigit():
            path.append(name)
        elif path and path[-1] in LISTS:
            path[-1] += f"_{name}"
        else:
            raise ValueError(f"{key}: unexpected index {name}")
    if leaf == "weight":
        leaf = "scale" if ndim == 1 else "kernel"
    elif leaf not in ("bias", *_ALONE):
        raise ValueError(f"{key}: neither weight nor bias")
    return (*path, leaf)


_ALONE = ("latents", "embeds")
"""Parameters that are no layer's."""

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "class_embedding": "class_embedding",
    **{name: name for name in _ALONE},
}
"""PyTorch's names of our leaves."""

VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Projections of the VAE's attention; diffusers' Flax module keeps the names torch once had."""


def to_key(path: tuple[str, ...]) -> str:
    """State-dict key of a parameter of any network; undoes `to_path`."""
    *modules, leaf = path
    if leaf not in LEAVES:
        raise ValueError(f"{'/'.join(path)}: none of {', '.join(LEAVES)}")
    names = [re.sub(rf"^({'|'.join(LISTS)})_(\d+)$", r"\1.\2", name) for name in modules]
    return ".".join([*(VAE_ATTENTION.get(name, name) for name in names), LEAVES[leaf]])


def torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in PyTorch of the parameter at a path that has this shape here."""
    return tuple(shape[axis] for axis in _axes(path, len(shape), to_torch=True))


def transposed(path: tuple[str, ...], x: np.ndarray, *, to_torch: bool) -> np.ndarray:
    """The array of a parameter from PyTorch's order of axes, or into it."""
    return np.ascontiguousarray(x.transpose(_axes(path, x.ndim, to_torch=to_torch)))


def _axes(path: tuple[str, ...], ndim: int, *, to_torch: bool) -> tuple[int, ...]:
    if path[-1] != "kernel":
        return tuple(range(ndim))
    if ndim not in (2, 4):
        raise ValueError(f"{'/'.join(path)}: no rule for a kernel of {ndim} axes")
    return {2: (1, 0), 4: (3, 2, 0, 1) if to_torch else (2, 3, 1, 0)}[ndim]


def from_torch(
    state: Mapping[str, np.ndarray], template: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A parameter tree from a state dict of numpy arrays; position tables are left out.

    Args:
      state: arrays by state-dict key.
      template: tree of arrays or `jax.ShapeDtypeStruct`s whose paths and shapes must be met.

    Raises:
      ValueError: keys are missing or left over, or shapes differ.
    """
    flat = {}
    for key, x in state.items():
        if not key.endswith(POSITION_TABLE):
            path = to_path(key, x.ndim)
            flat[path] = transposed(path, np.asarray(x), to_torch=False)
    if template is not None:
        _check(flat, _flatten(template))
    return _unflatten(flat)


def to_torch(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A state dict of numpy arrays from a parameter tree; undoes `from_torch`."""
    return {
        to_key(path): transposed(path, np.asarray(x), to_torch=True)
        for path, x in _flatten(params).items()
    }


def _check(flat: Mapping[tuple[str, ...], Any], template: Mapping[tuple[str, ...], Any]) -> None:
    problems = [f"missing {to_key(path)}" for path in template if path not in flat]
    problems += [f"unexpected {to_key(path)}" for path in flat if path not in template]
    problems += [
        f"{to_key(path)} gives the shape {x.shape} where {template[path].shape} is wanted"
        for path, x in flat.items()
        if path in template and tuple(x.shape) != tuple(template[path].shape)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError("; ".join(problems[:5]) + more)


def _flatten(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, (*path, name))
        else:
            flat[*path, name] = value
    return flat


def _unflatten(flat: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*modules, leaf), value in flat.items():
        node = tree
        for name in modules:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree
