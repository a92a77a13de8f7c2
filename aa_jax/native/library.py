"""The library that all C++ files beside this one make, and its programs as functions of arrays."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array

from aa_jax.native.build import BuildError, build

SOURCES = sorted(Path(__file__).parent.glob("*.cc"))

PROGRAMS = (
    "aa_jax_attention_forward",
    "aa_jax_attention_query_gradient",
    "aa_jax_attention_key_gradients",
    "aa_jax_convolve",
    "aa_jax_kernel_gradient",
)
"""Names in the library, and for XLA."""


@functools.cache
def obstacle() -> str:
    """Why it cannot run on this machine; empty if it can. Compiles it at the first call."""
    try:
        library = ctypes.CDLL(str(build("aa_jax", SOURCES)))
    except (BuildError, OSError) as error:
        return str(error)
    for name in PROGRAMS:
        program = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, program, platform="cpu")
    return ""


def call(name: str, results: tuple[tuple[int, ...], ...], *operands: Array) -> tuple[Array, ...]:
    """Calls a program, which computes in float32 and takes whole numbers of 32 bits.

    Args:
      name: of `PROGRAMS`.
      results: their shapes.
      operands: arrays.
    """
    whole = [jnp.issubdtype(x.dtype, jnp.integer) for x in operands]
    dtypes = [jnp.int32 if is_whole else jnp.float32 for is_whole in whole]
    operands = [x.astype(dtype) for x, dtype in zip(operands, dtypes, strict=True)]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    return tuple(jax.ffi.ffi_call(name, shapes, vmap_method="sequential")(*operands))
