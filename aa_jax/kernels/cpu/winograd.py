"""3x3 convolutions in 4/9 of the multiplications, and their gradients.

Winograd's F(2x2, 3x3) as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
(2015): tiles of 4x4 pixels and the kernel are transformed by additions, multiplied number by
number, which over all tiles and channels makes 16 products of matrices, and transformed to 2x2
pixels. Exact but for rounding, which in float32 is a few times a plain convolution's.

Transforms act on lists of arrays, along one side of a tile; `_both_sides` applies them to grids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

Grid = list[list[Array]]
"""Arrays by row and column of a tile."""

TURNED = (3, 1, 2, 0)
"""Where the transform of a kernel turned by 180 degrees has the rows and columns of its own."""


def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w f"]:
    """The convolution with one pixel of zeros around."""
    tiles, kernels = _transformed_tiles(x), _transformed_kernel(kernel)
    return _pictures(_each(jnp.matmul, tiles, kernels), x.shape)


def input_gradient(
    gradient: Float[Array, "n h w f"], kernel: Float[Array, "3 3 c f"]
) -> Float[Array, "n h w c"]:
    """Of a result's gradient: its convolution with the turned and transposed kernel."""
    tiles, kernels = _transformed_tiles(gradient), _transformed_kernel(kernel)
    turned = [[kernels[i][j] for j in TURNED] for i in TURNED]
    return _pictures(_each(lambda tile, k: tile @ k.T, tiles, turned), gradient.shape)


def kernel_gradient(
    x: Float[Array, "n h w c"], gradient: Float[Array, "n h w f"]
) -> Float[Array, "3 3 c f"]:
    """Of an input and the result's gradient."""
    gradient = _even(gradient)
    split = rearrange(gradient, "n (h i) (w j) f -> n h i w j f", i=2, j=2)
    pixels = [
        [rearrange(split[:, :, i, :, j], "n h w f -> (n h w) f") for j in range(2)]
        for i in range(2)
    ]
    products = _each(
        lambda tile, g: tile.T @ g, _transformed_tiles(x), _both_sides(_pixels_transposed, pixels)
    )
    return jnp.stack([jnp.stack(row) for row in _both_sides(_kernel_transposed, products)])


# --- pictures and tiles -------------------------------------------------------------------------


def _transformed_tiles(x: Float[Array, "n h w c"]) -> Grid:
    """For every place in a tile the numbers [n*h/2*w/2, c] of all tiles, transformed."""
    x = _even(x)
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    split = rearrange(padded, "n (h i) (w j) c -> n h i w j c", i=2, j=2)

    def place(i: int, j: int) -> Array:
        part = split[:, i // 2 : i // 2 + rows, i % 2, j // 2 : j // 2 + columns, j % 2]
        return rearrange(part, "n h w c -> (n h w) c")

    return _both_sides(_tile, [[place(i, j) for j in range(4)] for i in range(4)])


def _transformed_kernel(kernel: Float[Array, "3 3 c f"]) -> Grid:
    return _both_sides(_kernel, [[kernel[i, j] for j in range(3)] for i in range(3)])


def _pictures(products: Grid, shape: Sequence[int]) -> Float[Array, "n h w f"]:
    """Pictures of the shape's height and width out of transformed tiles of them."""
    n, height, width, _ = shape
    pixels = jnp.stack([jnp.stack(row) for row in _both_sides(_pixels, products)])
    pictures = rearrange(
        pixels, "i j (n h w) f -> n (h i) (w j) f", n=n, h=(height + 1) // 2, w=(width + 1) // 2
    )
    return pictures[:, :height, :width]


def _even(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """With a row and a column of zeros more where their number is odd."""
    height, width = x.shape[1:3]
    if height % 2 or width % 2:
        x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return x


# --- transforms ---------------------------------------------------------------------------------


def _both_sides(transform: Callable[[Sequence[Array]], list[Array]], grid: Grid) -> Grid:
    columns = [transform(column) for column in zip(*grid, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _each(function: Callable[[Array, Array], Array], a: Grid, b: Grid) -> Grid:
    return [[function(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _tile(d: Sequence[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel(g: Sequence[Array]) -> list[Array]:
    outer, middle = (g[0] + g[2]) * 0.5, g[1] * 0.5
    return [g[0], outer + middle, outer - middle, g[2]]


def _kernel_transposed(u: Sequence[Array]) -> list[Array]:
    outer = (u[1] + u[2]) * 0.5
    return [u[0] + outer, (u[1] - u[2]) * 0.5, outer + u[3]]


def _pixels(m: Sequence[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _pixels_transposed(y: Sequence[Array]) -> list[Array]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]
