"""`convolution.cc` as functions of arrays: 3x3, padded by a pixel of zeros, without strides."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Program

PIXELS, POINTS = 4, 36
"""A tile's side, and the numbers that it is transformed to."""

CHUNK = 512
"""Tiles that are transformed at a time."""


def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w f"]:
    """The convolution."""
    features = kernel.shape[3]
    results = (*x.shape[:3], features), _scratch(x.shape, features)
    return library.call(Program.CONVOLVE, results, x, kernel)[0]


def convolve_rectified(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"], bias: Float[Array, " f"]
) -> Float[Array, "n h w f"]:
    """The convolution, a bias added, and zero where that is negative; without gradients."""
    features = kernel.shape[3]
    results = (*x.shape[:3], features), _scratch(x.shape, features)
    return library.call(Program.CONVOLVE_RECTIFIED, results, x, kernel, bias)[0]


def input_gradient(
    gradient: Float[Array, "n h w f"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w c"]:
    """Of a result's gradient: its convolution with the turned and transposed kernel."""
    return convolve(gradient, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))


def kernel_gradient(
    x: Float[Array, "n h w c"], gradient: Float[Array, "n h w f"]
) -> Float[Array, "3 3 c f"]:
    """Of an input and the result's gradient."""
    channels, features = x.shape[3], gradient.shape[3]
    results = (3, 3, channels, features), _scratch(x.shape, features)
    return library.call(Program.KERNEL_GRADIENT, results, x, gradient)[0]


def tiles(shape: tuple[int, ...]) -> int:
    """Of pictures [n, h, w, c]."""
    n, height, width, _ = shape
    return n * math.ceil(height / PIXELS) * math.ceil(width / PIXELS)


def flops(shape: tuple[int, ...], features: int) -> float:
    """Of the products of all tiles of pictures [n, h, w, c]."""
    return 2.0 * POINTS * tiles(shape) * shape[3] * features


def _scratch(shape: tuple[int, ...], features: int) -> tuple[int]:
    """Room for all points of a chunk's tiles, of its results, and of a kernel."""
    channels, chunk = shape[3], min(CHUNK, tiles(shape))
    return (POINTS * (chunk * (channels + features) + channels * features),)
