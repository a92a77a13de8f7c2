"""Networks that compute every token alone.

On a CPU some tokens at a time: what lies between their layers then fits the caches.
"""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from aa_jax.kernels.target import on_one_cpu

AT_ONCE = 2**11
"""Tokens."""

UNROLLED = 4
"""Times that is done without a loop, which would copy what the backward pass reads."""


def some_at_once(
    module: nn.Module, compute: Callable[[nn.Module, Array], Array], x: Float[Array, "*s c"]
) -> Float[Array, "*s f"]:
    """`compute(module, x)`, which calls submodules for every token alone."""
    tokens = x.size // x.shape[-1]
    whole = tokens <= AT_ONCE or tokens % AT_ONCE or not on_one_cpu()
    if whole or module.is_initializing():
        return compute(module, x)
    times = tokens // AT_ONCE
    loop = nn.scan(
        lambda module, _, x: (None, compute(module, x)),
        variable_broadcast="params",
        split_rngs={"params": False},
        unroll=times if times <= UNROLLED else 1,
    )
    y = loop(module, None, x.reshape(times, AT_ONCE, -1))[1]
    return y.reshape(*x.shape[:-1], -1)
