"""Layers of trained networks over pictures and clips, without gradients, fast on a CPU.

XLA's CPU backend takes three to twelve times as long as it might for convolutions over time. On a
single CPU device convolutions with bias and ReLU are C++ instead: 3x3 and 3x3x3 in a quarter and a
sixth of the multiplications by Winograd's transforms, all others directly.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import convolution as winograd
from aa_jax.kernels.cpu.native import direct, library
from aa_jax.kernels.target import on_one_cpu

Padding = str | Sequence[tuple[int, int]]
"""`SAME` and `VALID` as in TensorFlow, or how much before and after each axis."""

FEW_CHANNELS = 16
"""Of input and output, below which transforms outweigh what they save."""

FEW_PIXELS = 12
"""Along a side, below which tiles lie half outside."""


def convolve(
    x: Float[Array, "n *axes c"],
    kernel: Float[Array, "*taps c f"],
    bias: Float[Array, " f"],
    strides: Sequence[int],
    padding: Padding,
    *,
    relu: bool,
) -> Float[Array, "n *axes2 f"]:
    """A convolution with bias over all axes between the first and the last, and a ReLU if wanted.

    Args:
      x: pictures [n, h, w, c] or clips [n, t, h, w, c].
      kernel: along the same axes.
      bias: what is added.
      strides: along the same axes.
      padding: zeros around them.
      relu: whether what is negative becomes zero.
    """
    if not _natively(x, kernel):
        y = _plainly(x, kernel, strides, padding) + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return jax.nn.relu(y) if relu else y
    if x.ndim == 4:  # as clips of one frame
        pads = [(0, 0), *_pads(x, kernel, strides, padding)]
        y = _in_cpp(x[:, None], kernel[None], bias, (1, *strides), pads, relu)
        return y[:, 0]
    return _in_cpp(x, kernel, bias, strides, _pads(x, kernel, strides, padding), relu)


def max_pool(
    x: Float[Array, "n *axes c"], size: Sequence[int], strides: Sequence[int], padding: Padding
) -> Float[Array, "n *axes2 c"]:
    """The largest number of every window; what is padded is smaller than all.

    One axis after the other, as maxima of whole shifted arrays.
    """
    widths, steps = (1, *size, 1), (1, *strides, 1)
    pads = ((0, 0), *_resolved(x.shape[1:-1], size, strides, padding), (0, 0))
    for axis, (width, step, pad) in enumerate(zip(widths, steps, pads, strict=True)):
        if width == step == 1:
            continue
        count = (x.shape[axis] + sum(pad) - width) // step + 1
        around = [(0, 0)] * x.ndim
        around[axis] = pad
        padded = jnp.pad(x, around, constant_values=-jnp.inf)
        parts = [
            jax.lax.slice_in_dim(padded, i, i + (count - 1) * step + 1, step, axis)
            for i in range(width)
        ]
        x = functools.reduce(jnp.maximum, parts)
    return x


def _plainly(x: Array, kernel: Array, strides: Sequence[int], padding: Padding) -> Array:
    axes = "DHW"[-(x.ndim - 2) :]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    padding = padding if isinstance(padding, str) else tuple(padding)
    # Accelerators round to fewer bits unless told otherwise; a metric is the same everywhere.
    return jax.lax.conv_general_dilated(
        x, kernel, tuple(strides), padding, dimension_numbers=layout, precision="highest"
    )


def _natively(x: Array, kernel: Array) -> bool:
    return (
        on_one_cpu()
        and kernel.shape[-1] % library.VECTOR == 0
        and not library.obstacle(library.Part.CONVOLUTION, x.dtype)
    )


def _pads(x: Array, kernel: Array, strides: Sequence[int], padding: Padding) -> list:
    return _resolved(x.shape[1:-1], kernel.shape[:-2], strides, padding)


def _resolved(
    axes: Sequence[int], size: Sequence[int], strides: Sequence[int], padding: Padding
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(axes, size, strides, padding)
    return list(padding)


# --- C++ ------------------------------------------------------------------------------------------


def _in_cpp(
    x: Float[Array, "n t h w c"],
    kernel: Float[Array, "i j k c f"],
    bias: Float[Array, " f"],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    relu: bool,
) -> Float[Array, "n t2 h2 w2 f"]:
    if relu and _in_winograds_way(x, kernel, strides, pads):
        return _winograd(*_whole_vectors(x, kernel), bias)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if kernel.shape[:3] == tuple(strides) == (1, 1, 1):  # longer rows
        height, width = x.shape[2:4]
        y = direct.convolve(
            rearrange(x, "n t h w c -> n t 1 (h w) c"), kernel, bias, strides, relu=relu
        )
        return rearrange(y, "n t 1 (h w) f -> n t h w f", h=height, w=width)
    return direct.convolve(x, kernel, bias, strides, relu=relu)


def _in_winograds_way(
    x: Array, kernel: Array, strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> bool:
    size = kernel.shape[:3]
    if size not in ((1, 3, 3), (3, 3, 3)) or set(strides) != {1}:
        return False
    if any(pad != ((width - 1) // 2,) * 2 for pad, width in zip(pads, size, strict=True)):
        return False
    channels = x.shape[-1], kernel.shape[-1]
    return min(channels) >= FEW_CHANNELS and min(x.shape[2:4]) >= FEW_PIXELS


def _whole_vectors(x: Array, kernel: Array) -> tuple[Array, Array]:
    """With channels of zeros up to a multiple of what C++ takes."""
    missing = -x.shape[-1] % library.VECTOR
    if not missing:
        return x, kernel
    return (
        jnp.pad(x, [(0, 0)] * 4 + [(0, missing)]),
        jnp.pad(kernel, [(0, 0)] * 3 + [(0, missing), (0, 0)]),
    )


def _winograd(
    x: Float[Array, "n t h w c"], kernel: Float[Array, "i 3 3 c f"], bias: Float[Array, " f"]
) -> Float[Array, "n t h w f"]:
    """Over pictures F(4x4, 3x3), and over time F(2, 3): four products for two frames, not six."""
    n, frames = x.shape[:2]
    if len(kernel) == 1:
        pictures = rearrange(x, "n t h w c -> (n t) h w c")
        y = winograd.convolve_rectified(pictures, kernel[0], bias)
        return rearrange(y, "(n t) h w f -> n t h w f", n=n)
    odd = frames % 2
    padded = jnp.pad(x, ((0, 0), (1, 1 + odd), *[(0, 0)] * 3))
    ends = [padded[:, i : i + frames + odd : 2] for i in range(4)]
    d = [rearrange(frame, "n t h w c -> (n t) h w c") for frame in ends]
    outer = (kernel[0] + kernel[2]) * 0.5
    products = [
        winograd.convolve(frame, part)
        for frame, part in (
            (d[0] - d[2], kernel[0]),
            (d[1] + d[2], outer + kernel[1] * 0.5),
            (d[2] - d[1], outer - kernel[1] * 0.5),
            (d[1] - d[3], kernel[2]),
        )
    ]
    shift = bias.reshape(1, 1, 1, -1)
    pair = [
        jax.nn.relu(products[0] + products[1] + products[2] + shift),
        jax.nn.relu(products[1] - products[2] - products[3] + shift),
    ]
    y = rearrange(jnp.stack(pair, 1), "(n t) i h w f -> n (t i) h w f", n=n)
    return y[:, :frames]
