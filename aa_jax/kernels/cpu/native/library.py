"""The library that all C++ files beside this one make, and its programs as functions of arrays."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from aa_jax.kernels.cpu.native.build import BuildError, build

SOURCES = sorted(Path(__file__).parent.glob("*.cc"))

VECTOR = 16
"""Numbers in the longest vector; convolutions take only multiples of so many channels."""


class Program(enum.StrEnum):
    """Names in the library, and for XLA."""

    ATTENTION_FORWARD = "aa_jax_attention_forward"
    ATTENTION_QUERY_GRADIENT = "aa_jax_attention_query_gradient"
    ATTENTION_KEY_GRADIENTS = "aa_jax_attention_key_gradients"
    CONVOLVE = "aa_jax_convolve"
    CONVOLVE_RECTIFIED = "aa_jax_convolve_rectified"
    KERNEL_GRADIENT = "aa_jax_kernel_gradient"
    DIRECT = "aa_jax_direct"


class Part(enum.StrEnum):
    """What is computed in C++, each for itself."""

    ATTENTION = "attention"
    CONVOLUTION = "convolution"


_left_out: frozenset[Part] = frozenset()


@contextlib.contextmanager
def without(*parts: Part) -> Iterator[None]:
    """Traces programs that do not compute these parts in C++."""
    global _left_out
    before, _left_out = _left_out, frozenset(parts)
    try:
        yield
    finally:
        _left_out = before


def obstacle(part: Part, dtype: DTypeLike = jnp.float32) -> str:
    """Why a part cannot be C++ here, for arrays of a dtype; empty if it can.

    Compiles it at the first call.
    """
    if part in _left_out:
        return f"is left out of {part}"
    if jnp.dtype(dtype).itemsize > 4:
        return f"computes in float32, not in {jnp.dtype(dtype)}"
    return _obstacle()


@functools.cache
def _obstacle() -> str:
    try:
        library = _load()
    except (BuildError, OSError) as error:
        return str(error)
    for name in map(str, Program):
        program = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, program, platform="cpu")
    return ""


@functools.cache
def _load() -> ctypes.CDLL:
    return ctypes.CDLL(str(build("aa_jax", SOURCES)))


def call(
    program: Program,
    results: tuple[tuple[int, ...], ...],
    *operands: Array,
    **attributes: np.generic,
) -> tuple[Array, ...]:
    """Calls a program, which computes in float32 and takes whole numbers of 32 bits.

    Args:
      program: its name.
      results: their shapes.
      operands: arrays.
      attributes: numbers that are part of the program, of the types that it names.
    """
    whole = [jnp.issubdtype(x.dtype, jnp.integer) for x in operands]
    dtypes = [jnp.int32 if is_whole else jnp.float32 for is_whole in whole]
    operands = [x.astype(dtype) for x, dtype in zip(operands, dtypes, strict=True)]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    called = jax.ffi.ffi_call(str(program), shapes, vmap_method="sequential")
    return tuple(called(*operands, **attributes))
