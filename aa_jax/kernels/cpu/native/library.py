"""The library that all C++ files beside this one make, and its programs as functions of arrays."""

from __future__ import annotations

import ctypes
import enum
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from aa_jax.kernels.cpu.native.build import BuildError, build

SOURCES = sorted(Path(__file__).parent.glob("*.cc"))

VECTOR = 16
"""Numbers in the longest vector; some programs take only multiples of so many channels."""


class Program(enum.StrEnum):
    """Names in the library, and for XLA."""

    ATTENTION_FORWARD = "aa_jax_attention_forward"
    ATTENTION_QUERY_GRADIENT = "aa_jax_attention_query_gradient"
    ATTENTION_KEY_GRADIENTS = "aa_jax_attention_key_gradients"
    SHORT_ATTENTION_FORWARD = "aa_jax_short_attention_forward"
    SHORT_ATTENTION_BACKWARD = "aa_jax_short_attention_backward"
    CONVOLVE = "aa_jax_convolve"
    KERNEL_GRADIENT = "aa_jax_kernel_gradient"
    GEGLU = "aa_jax_geglu"
    GEGLU_GRADIENT = "aa_jax_geglu_gradient"
    LAYER_NORM = "aa_jax_layer_norm"
    LAYER_NORM_GRADIENTS = "aa_jax_layer_norm_gradients"
    MULTIPLY = "aa_jax_multiply"


@functools.cache
def obstacle() -> str:
    """Why it cannot run on this machine; empty if it can. Compiles it at the first call."""
    try:
        library = _load()
    except (BuildError, OSError) as error:
        return str(error)
    for name in map(str, Program):
        program = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, program, platform="cpu")
    return ""


@functools.cache
def has_matrix_unit() -> bool:
    """Whether the processor has one for bfloat16, and the system lets this process use it."""
    asked = _load().aa_jax_has_matrix_unit
    asked.restype = ctypes.c_bool
    return asked()


@functools.cache
def _load() -> ctypes.CDLL:
    return ctypes.CDLL(str(build("aa_jax", SOURCES)))


def dtype_obstacle(dtype: DTypeLike) -> str:
    """Why it cannot take arrays of a dtype; empty if it can."""
    wide = jnp.dtype(dtype).itemsize > 4
    return f"computes in float32, not in {jnp.dtype(dtype)}" if wide else ""


def call(
    program: Program, results: tuple[tuple[int, ...], ...], *operands: Array, **options: Any
) -> tuple[Array, ...]:
    """Calls a program, which computes in float32 and takes whole numbers of 32 bits.

    Args:
      program: its name.
      results: their shapes.
      operands: arrays.
      options: numbers by name.
    """
    whole = [jnp.issubdtype(x.dtype, jnp.integer) for x in operands]
    dtypes = [jnp.int32 if is_whole else jnp.float32 for is_whole in whole]
    operands = [x.astype(dtype) for x, dtype in zip(operands, dtypes, strict=True)]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    return tuple(
        jax.ffi.ffi_call(str(program), shapes, vmap_method="sequential")(*operands, **options)
    )
