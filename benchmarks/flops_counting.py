"""How a function's FLOPs are counted, for the tables of `benchmarks/flops.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from aa_jax.kernels import attention as attention_kernels
from aa_jax.training import flops

GUIDANCE_SCALE = 3.5


def counted(function: Callable[..., Any], *args: Any) -> float:
    """FLOPs of a function of abstract arrays, attention in plain products."""
    with attention_kernels.using("xla"):
        return flops.count(jax.jit(function).trace(*args).jaxpr)
