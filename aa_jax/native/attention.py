"""`attention.cc` as functions of arrays."""

from __future__ import annotations

import math

from jaxtyping import Array, Float, Int

from aa_jax.native import library

FORWARD, BACKWARD = library.PROGRAMS[:2]

MOST_CHANNELS = 256
"""Of a head, for which there is room on the stack."""


def forward(
    q: Float[Array, "b s n d"],
    k: Float[Array, "b r n d"],
    v: Float[Array, "b r n d"],
    key_lengths: Int[Array, " b"],
) -> tuple[Float[Array, "b s n d"], Float[Array, "b s n"]]:
    """The result, and the logarithm of every query's sum of exponentials."""
    return library.call(FORWARD, (q.shape, q.shape[:3]), q, k, v, key_lengths)


def backward(
    q: Float[Array, "b s n d"],
    k: Float[Array, "b r n d"],
    v: Float[Array, "b r n d"],
    key_lengths: Int[Array, " b"],
    gradient: Float[Array, "b s n d"],
    log_totals: Float[Array, "b s n"],
    means: Float[Array, "b s n"],
) -> tuple[Float[Array, "b s n d"], Float[Array, "b r n d"], Float[Array, "b r n d"]]:
    """Gradients of queries, keys and values.

    Args:
      q: queries.
      k: keys.
      v: values.
      key_lengths: how many of its first keys a sample sees.
      gradient: of the result.
      log_totals: from `forward`.
      means: the sums over channels of the result times its gradient.
    """
    results = (q.shape, k.shape, v.shape)
    return library.call(BACKWARD, results, q, k, v, key_lengths, gradient, log_totals, means)


def flops(name: str, q: tuple[int, ...], k: tuple[int, ...]) -> float:
    """Of plain attention between queries and keys of these shapes: two products, four backward."""
    return {FORWARD: 2, BACKWARD: 4}[name] * 2.0 * math.prod(q) * k[1]
