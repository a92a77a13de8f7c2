"""Pictures to another size as matrix products, one per side, in float32 on the device.

Each row of a matrix holds how much every old pixel gives to a new one, so that a filter's
definition is all there is to it:

    bilinear, bicubic   Pillow's: filters as wide as the pixels they make when pictures shrink
    points              PyTorch's `interpolate` and OpenCV's: between the two nearest old pixels
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Float

Filter = Literal["bilinear", "bicubic", "points"]


@functools.cache
def matrix(old: int, new: int, filter: Filter) -> Float[np.ndarray, "new old"]:
    """Weights of the old pixels of a line in each of the new ones; every row sums to 1."""
    ratio = old / new
    width = 1.0 if filter == "points" else max(ratio, 1.0)
    centres = (np.arange(new) + 0.5) * ratio - 0.5
    if filter == "points":  # beyond the outermost pixels there is nothing to go between
        centres = centres.clip(0, old - 1)
    kernel = _cubic if filter == "bicubic" else _triangle
    weights = kernel((np.arange(old) - centres[:, None]) / width)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def resize(
    x: Float[Array, "n h w c"], height: int, width: int, filter: Filter
) -> Float[Array, "n h2 w2 c"]:
    """Pictures of the new size; results of `bicubic` may leave the range of the old numbers."""
    rows, columns = matrix(x.shape[1], height, filter), matrix(x.shape[2], width, filter)
    x = jax.numpy.einsum("ih,nhwc->niwc", rows, x, precision="highest")
    return jax.numpy.einsum("jw,niwc->nijc", columns, x, precision="highest")


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys's cubic convolution."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))
