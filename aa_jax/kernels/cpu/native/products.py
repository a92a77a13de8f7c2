"""`products.cc` as a function of arrays."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Program

Matrix = Float[Array, "_ _"]

BLOCK, DEPTH = 32, 32
"""Rows, columns and depth of a block, and blocks of depth that are packed at a time."""

BLOCK_FLOATS = 3 * BLOCK * BLOCK // 2
"""Room of a block's pieces, which have 16 bits."""


def obstacle(dtype: DTypeLike) -> str:
    """Why arrays of a dtype cannot be multiplied; empty if they can."""
    if jnp.dtype(dtype) != jnp.float32:
        return f"multiplies float32, not {jnp.dtype(dtype)}"
    if obstacle := library.obstacle():
        return obstacle
    return "" if library.has_matrix_unit() else "needs a processor with a matrix unit (AMX)"


def multiply(
    a: Matrix, b: Matrix, *, turned_a: bool = False, turned_b: bool = False
) -> Float[Array, "m n"]:
    """The product of `a` [m, k] and `b` [k, n], as exact as float32's.

    Args:
      turned_a: `a` is [k, m].
      turned_b: `b` is [n, k].
    """
    rows, depth, columns = sizes(a, b, turned_a=turned_a, turned_b=turned_b)
    blocks = math.ceil(columns / BLOCK) * min(DEPTH, math.ceil(depth / BLOCK))
    results = (rows, columns), (blocks * BLOCK_FLOATS,)
    options = {"turned_a": turned_a, "turned_b": turned_b}
    return library.call(Program.MULTIPLY, results, a, b, **options)[0]


def sizes(a: Matrix, b: Matrix, *, turned_a: bool, turned_b: bool) -> tuple[int, int, int]:
    """Rows, depth and columns of a product."""
    depth, rows = a.shape if turned_a else a.shape[::-1]
    return rows, depth, b.shape[0 if turned_b else 1]


def flops(a: tuple[int, ...], out: tuple[int, ...]) -> float:
    """Of a matrix, turned or not, whose product has the shape `out`."""
    return 2.0 * math.prod(a) * out[1]
