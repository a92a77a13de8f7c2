"""`tokens.cc` as functions of arrays, with gradients."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import VECTOR, Program

SOME = 64
"""Tokens whose gradients of parameters come summed."""


def obstacle(dtype: DTypeLike, channels: int) -> str:
    """Why tokens of so many channels (GEGLU: results) cannot be taken; empty if they can."""
    if obstacle := library.dtype_obstacle(dtype):
        return obstacle
    if channels % VECTOR:
        return f"takes multiples of {VECTOR} channels, not {channels}"
    return library.obstacle()


@jax.custom_vjp
def geglu(h: Float[Array, "*s 2f"], bias: Float[Array, " 2f"]) -> Float[Array, "*s f"]:
    """`value · gelu(gate)` of the halves of `h + bias`, with the exact (erf) GELU."""
    rows = _rows(h)
    shape = len(rows), h.shape[-1] // 2
    (y,) = library.call(Program.GEGLU, (shape,), rows, bias)
    return y.reshape(*h.shape[:-1], -1).astype(h.dtype)


def _geglu_forward(h: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return geglu(h, bias), (h, bias)


def _geglu_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    h, bias = saved
    rows = _rows(h)
    (of_h,) = library.call(Program.GEGLU_GRADIENT, (rows.shape,), rows, bias, _rows(gradient))
    return of_h.reshape(h.shape).astype(h.dtype), of_h.sum(0).astype(bias.dtype)


geglu.defvjp(_geglu_forward, _geglu_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(
    x: Float[Array, "*s c"], scale: Float[Array, " c"], bias: Float[Array, " c"], epsilon: float
) -> Float[Array, "*s c"]:
    """LayerNorm over the last axis."""
    rows = _rows(x)
    (y,) = library.call(
        Program.LAYER_NORM, (rows.shape,), rows, scale, bias, epsilon=np.float32(epsilon)
    )
    return y.reshape(x.shape).astype(x.dtype)


def _norm_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, Any]:
    return layer_norm(x, scale, bias, epsilon), (x, scale)


def _norm_backward(epsilon: float, saved: Any, gradient: Array) -> tuple[Array, Array, Array]:
    x, scale = saved
    rows = _rows(x)
    shapes = rows.shape, (math.ceil(len(rows) / SOME), 2, rows.shape[1])
    of_x, sums = library.call(
        Program.LAYER_NORM_GRADIENTS,
        shapes,
        rows,
        scale,
        _rows(gradient),
        epsilon=np.float32(epsilon),
    )
    return of_x.reshape(x.shape).astype(x.dtype), *sums.sum(0).astype(scale.dtype)


layer_norm.defvjp(_norm_forward, _norm_backward)


def _rows(x: Float[Array, "*s c"]) -> Float[Array, "t c"]:
    return x.reshape(-1, x.shape[-1])
