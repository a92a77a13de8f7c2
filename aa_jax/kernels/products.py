"""Products of matrices, in ways that a CPU computes fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import products as native
from aa_jax.kernels.cpu.native.products import Matrix
from aa_jax.kernels.target import on_one_cpu

MANY_ROWS, SOME_COLUMNS, SOME_DEPTH = 128, 64, 64
"""Of a product that C++ computes; below, taking numbers apart takes too long."""

MANY_INPUTS = 320
"""Of a layer whose weights' gradient C++ computes; fewer make few tasks of many tokens each."""


class Dense(nn.Dense):
    """`nn.Dense`, whose product is `matmul`."""

    dot_general: Any = lambda x, kernel, *_, **__: matmul(x, kernel)


def matmul(x: Float[Array, "*s k"], kernel: Float[Array, "k n"]) -> Float[Array, "*s n"]:
    """`x @ kernel`."""
    if x.dtype != kernel.dtype or not on_one_cpu() or native.obstacle(x.dtype):
        return x @ kernel
    return _matmul(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _matmul(x: Float[Array, "m k"], kernel: Float[Array, "k n"]) -> Float[Array, "m n"]:
    return product(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _matmul(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return product(gradient, kernel, turned_b=True), product(x, gradient, turned_a=True)


_matmul.defvjp(_forward, _backward)


def product(
    a: Matrix, b: Matrix, *, turned_a: bool = False, turned_b: bool = False
) -> Float[Array, "m n"]:
    """Of `a` [m, k] and `b` [k, n], summed and returned in float32 at least.

    Args:
      turned_a: `a` is [k, m].
      turned_b: `b` is [n, k].
    """
    rows, depth, columns = native.sizes(a, b, turned_a=turned_a, turned_b=turned_b)
    least = MANY_INPUTS if turned_a else MANY_ROWS
    enough = rows >= least and columns >= SOME_COLUMNS and depth >= SOME_DEPTH
    if enough and on_one_cpu() and not native.obstacle(a.dtype):
        return native.multiply(a, b, turned_a=turned_a, turned_b=turned_b)
    a, b = a.T if turned_a else a, b.T if turned_b else b
    return jnp.matmul(a, b, preferred_element_type=wide_dtype(a))


def wide_dtype(x: Array) -> DTypeLike:
    """In which numbers of x are summed: float32 at least."""
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype
