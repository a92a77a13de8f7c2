"""Floating-point operations of a traced program.

Counted on the jaxpr: products and convolutions, a multiply-add as two, loop bodies times their
trips. XLA's own cost analysis counts a loop's body once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval

from aa_jax.kernels.cpu.native import attention as native_attention
from aa_jax.kernels.cpu.native import convolution as native_convolution
from aa_jax.kernels.cpu.native.library import Program


def count(closed: ClosedJaxpr) -> float:
    """FLOPs of a program over all devices, without what does not reach its results."""
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return _count(jaxpr)


def _count(jaxpr: Jaxpr) -> float:
    return sum(map(_count_equation, jaxpr.eqns))


def _count_equation(eqn: Any) -> float:
    match eqn.primitive.name:
        case "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            lhs = eqn.invars[0].aval.shape
            return 2.0 * _size(eqn.outvars[0]) * math.prod(lhs[i] for i in contracted)
        case "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            out_features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
            # Zeros between the elements of a dilated input are not multiplied.
            zeros = math.prod(eqn.params["lhs_dilation"])
            return 2.0 * _size(eqn.outvars[0]) * math.prod(kernel) / out_features / zeros
        case "scan":
            return eqn.params["length"] * _count(eqn.params["jaxpr"].jaxpr)
        case "cond":
            return max(_count(branch.jaxpr) for branch in eqn.params["branches"])
        case "dot_product_attention_fwd_wrapper":  # cuDNN's: as plain attention, two products
            return 2 * _count_scores(eqn)
        case "dot_product_attention_bwd_wrapper":
            return 4 * _count_scores(eqn)
        case "ffi_call":
            return _count_native(eqn.params["target_name"], eqn)
        case "pallas_call":
            grid = eqn.params["grid_mapping"].grid
            return math.prod(grid) * _count(eqn.params["jaxpr"])
        case "shard_map":
            return eqn.params["mesh"].size * _count(eqn.params["jaxpr"])
        case _:
            return sum(map(_count, _inner(eqn.params)))


def _count_scores(eqn: Any) -> float:
    """Products of queries [b s n d] and keys [b r n d], an attention's first operands."""
    q, k = (x.aval.shape for x in eqn.invars[:2])
    return 2.0 * math.prod(q) * k[1]


def _count_native(name: str, eqn: Any) -> float:
    """Of C++ of this package: attention's as cuDNN's, convolutions' what they compute."""
    if name in native_attention.PRODUCTS:
        return native_attention.PRODUCTS[name] * _count_scores(eqn)
    first, second = (x.aval.shape for x in eqn.invars[:2])
    if name in (Program.CONVOLVE, Program.KERNEL_GRADIENT):
        return native_convolution.flops(first, second[3])
    return 0.0


def _size(var: Any) -> int:
    return math.prod(var.aval.shape)


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs that an equation calls."""
    for value in params.values():
        for x in value if isinstance(value, tuple | list) else (value,):
            if isinstance(x, ClosedJaxpr):
                yield x.jaxpr
            elif isinstance(x, Jaxpr):
                yield x
