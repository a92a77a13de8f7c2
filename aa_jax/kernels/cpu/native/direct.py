"""`direct.cc` as a function of arrays: convolutions with a bias, without padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Program

PANEL = 64
"""A multiple of the features that are computed together, whatever the processor."""


def convolve(
    x: Float[Array, "n t h w c"],
    kernel: Float[Array, "i j k c f"],
    bias: Float[Array, " f"],
    strides: Sequence[int],
    *,
    relu: bool,
) -> Float[Array, "n t2 h2 w2 f"]:
    """The convolution of what is inside; f is a multiple of `library.VECTOR`.

    Args:
      x: clips.
      kernel: along time, height, width.
      bias: what is added.
      strides: along the same axes.
      relu: whether what is negative becomes zero.
    """
    inside = [
        (size - width) // stride + 1
        for size, width, stride in zip(x.shape[1:4], kernel.shape[:3], strides, strict=True)
    ]
    names = "frame_step", "row_step", "column_step"
    steps = dict(zip(names, map(np.int64, strides), strict=True))
    room = math.prod(kernel.shape[:-1]) * math.ceil(kernel.shape[-1] / PANEL) * PANEL
    results = (len(x), *inside, kernel.shape[-1]), (room,)
    operands = x, kernel, bias
    return library.call(Program.DIRECT, results, *operands, **steps, relu=np.bool_(relu))[0]
