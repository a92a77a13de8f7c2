"""Convolutions, in ways that a CPU computes fast.

XLA's CPU backend computes the gradients of a convolution as convolutions again: that of the kernel
with kernels as large as the pictures, that of the input with a kernel turned and transposed in
memory. As products of matrices they take a third to four fifths of that time, and the kernel's
gradient lies in memory as the kernel does. Where there is enough to multiply, Winograd's products
halve the time of all three.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.kernels.cpu import winograd
from aa_jax.kernels.cpu.native import convolution as native
from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.target import on_one_cpu

# PyTorch's `padding=1`. "SAME" would pad only at the bottom and right where the stride is 2.
PADDING = ((1, 1), (1, 1))

SHIFTS = [(i, j) for i in range(3) for j in range(3)]
"""Rows and columns of a kernel, in the order in which it lies in memory."""

FEW_PIXELS = 2**12
"""Up to so many, nine times the pixels of an output fit the caches."""

VERY_FEW_PIXELS = 2**9
"""Up to so many, it is the kernel that takes time to read, and is better read once."""

MANY_CHANNELS, MANY_PIXELS = 64, 2**7
"""Of input and output, beyond which Winograd's products outweigh its transforms."""

SOME_CHANNELS, MANY_TILES = 32, 64
"""Of input and output, from which on C++ is faster."""


class Conv1x1(nn.Module):
    """A 1x1 convolution, computed as the product of matrices that it is."""

    features: int
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "*s c"]) -> Float[Array, "*s f"]:
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = x.astype(self.dtype) @ kernel[0, 0].astype(self.dtype)
        return y + bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def conv3x3(features: int, *, strides: int = 1, **kwargs: Any) -> nn.Conv:
    """A 3x3 convolution padded by one pixel on every side."""
    if strides == 1 and on_one_cpu():
        kwargs["conv_general_dilated"] = _as_flax_calls_it
    return nn.Conv(features, (3, 3), strides=(strides, strides), padding=PADDING, **kwargs)


def equivalent(layer: nn.Conv) -> nn.Module | None:
    """The module here that computes another package's convolution faster; None: there is none."""
    options = {"dtype": layer.dtype, "parent": None}
    if layer.strides not in (1, (1, 1)):
        return None
    if layer.kernel_size == (1, 1):
        return Conv1x1(layer.features, **options)
    if layer.kernel_size == (3, 3) and layer.padding == PADDING:
        ours = conv3x3(layer.features, **options)
        return ours if ours.conv_general_dilated != layer.conv_general_dilated else None
    return None


def _as_flax_calls_it(lhs: Array, rhs: Array, *_: Any, **__: Any) -> Array:
    return convolve(lhs, rhs)


@jax.custom_vjp
def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w f"]:
    """The convolution of `conv3x3` without strides, whose gradients are products of matrices."""
    if _natively(x, kernel):
        return native.convolve(x, kernel).astype(x.dtype)
    if _in_winograds_way(x, kernel):
        return winograd.convolve(_wide(x), _wide(_after(x, kernel))).astype(x.dtype)
    if _pixels(x) <= VERY_FEW_PIXELS:
        n, height, _, _ = x.shape
        matrix = rearrange(kernel, "i j c f -> (i j c) f")
        pixels = _product(_columns(x), matrix).astype(x.dtype)
        return rearrange(pixels, "(n h w) f -> n h w f", n=n, h=height)
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), PADDING, dimension_numbers=layout)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    if _natively(x, kernel):
        of_x = native.input_gradient(gradient, kernel)
        of_kernel = native.kernel_gradient(x, gradient)
        return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)
    if _in_winograds_way(x, kernel):
        of_x = winograd.input_gradient(_wide(gradient), _wide(_after(gradient, kernel)))
        of_kernel = winograd.kernel_gradient(_wide(_after(gradient, x)), _wide(gradient))
        return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)
    return _input_gradient(gradient, kernel), _kernel_gradient(x, gradient)


convolve.defvjp(_forward, _backward)


def _natively(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"]) -> bool:
    channels = kernel.shape[2:]
    if min(channels) < SOME_CHANNELS or any(n % library.VECTOR for n in channels):
        return False
    if native.tiles(x.shape) < MANY_TILES:
        return False
    return not library.obstacle(library.Part.CONVOLUTION, x.dtype)


def _in_winograds_way(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"]) -> bool:
    return min(kernel.shape[2:]) >= MANY_CHANNELS and _pixels(x) > MANY_PIXELS


def _wide(x: Array) -> Array:
    """In float32 at least; the transforms' sums are not to be rounded to 16 bits."""
    return x.astype(_wide_dtype(x))


def _wide_dtype(x: Array) -> DTypeLike:
    """In which numbers of x are summed: float32 at least."""
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype


def _product(a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    return jnp.matmul(a, b, preferred_element_type=_wide_dtype(a))


def _after(x: Array, y: Array) -> Array:
    """`y`, of which nothing can be computed before `x`.

    Winograd's transforms are larger than what they are made of. XLA would compute those of all
    kernels before a loop, and keep those of a forward pass for the backward one; on CPUs it drops
    its own barriers before that. That a number times zero is zero it may not assume.
    """
    return y + x[(0,) * x.ndim] * 0


def _kernel_gradient(
    x: Float[Array, "n h w c"], gradient: Float[Array, "n h w f"]
) -> Float[Array, "3 3 c f"]:
    """One product over all pixels, or one for every shift of the input."""
    pixels = rearrange(gradient, "n h w f -> (n h w) f")
    if _pixels(x) <= VERY_FEW_PIXELS:
        products = _product(_columns(x).T, pixels)
        return rearrange(products, "(i j c) f -> i j c f", i=3, j=3).astype(x.dtype)
    # Turned within the products; `c (n h w)` would be turned in memory, at three times the cost.
    shifted = (rearrange(part, "n h w c -> (n h w) c") for part in _shifted(x))
    products = jnp.stack([_product(part.T, pixels) for part in shifted])
    return rearrange(products, "(i j) c f -> i j c f", i=3).astype(x.dtype)


def _input_gradient(
    gradient: Float[Array, "n h w f"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w c"]:
    """One product with all nine parts of the kernel, whose results are shifted and summed."""
    n, height, _, _ = gradient.shape
    if _pixels(gradient) > FEW_PIXELS:
        turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
        return convolve(gradient, turned)
    pixels = rearrange(gradient, "n h w f -> (n h w) f")
    matrix = rearrange(kernel, "i j c f -> (i j c) f")
    products = _product(pixels, matrix.T)
    parts = rearrange(products, "(n h w) (s c) -> s n h w c", n=n, h=height, s=len(SHIFTS))
    shifted = [
        jnp.pad(part, ((0, 0), (i, 2 - i), (j, 2 - j), (0, 0)))
        for part, (i, j) in zip(parts, SHIFTS, strict=True)
    ]
    return sum(shifted)[:, 1:-1, 1:-1].astype(gradient.dtype)


def _pixels(x: Float[Array, "n h w c"]) -> int:
    return x.shape[0] * x.shape[1] * x.shape[2]


def _shifted(x: Float[Array, "n h w c"]) -> list[Float[Array, "n h w c"]]:
    """The input as every number of the kernel sees it."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), *PADDING, (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i, j in SHIFTS]


def _columns(x: Float[Array, "n h w c"]) -> Float[Array, "n*h*w 9*c"]:
    """For every pixel of the output all that the kernel sees there."""
    return rearrange(_shifted(x), "s n h w c -> (n h w) (s c)")
