"""`attention.cc` as functions of arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Program

PRODUCTS = {
    Program.ATTENTION_FORWARD: 2,
    Program.ATTENTION_QUERY_GRADIENT: 1,
    Program.ATTENTION_KEY_GRADIENTS: 3,
}
"""Of queries and keys in plain attention: not those by which gradients find weights again."""

MOST_CHANNELS = 256
"""Of a head, for which there is room on the stack."""


def forward(
    q: Float[Array, "b s n d"],
    k: Float[Array, "b r n d"],
    v: Float[Array, "b r n d"],
    key_lengths: Int[Array, " b"],
) -> tuple[Float[Array, "b s n d"], Float[Array, "b s n"]]:
    """The result, and the logarithm to base 2 of every query's sum of exponentials."""
    return library.call(Program.ATTENTION_FORWARD, (q.shape, q.shape[:3]), q, k, v, key_lengths)


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
    per_query = gradient, log_totals, means
    (of_q,) = library.call(
        Program.ATTENTION_QUERY_GRADIENT, (q.shape,), q, k, v, key_lengths, *per_query
    )
    # In a call of their own those of a reference's keys, which where it is frozen nobody reads.
    own = min(q.shape[1], k.shape[1])
    of_k, of_v = [], []
    for part in (slice(own), slice(own, None)) if own < k.shape[1] else (slice(None),):
        some_k, some_v = k[:, part], v[:, part]
        seen = jnp.clip(key_lengths - (part.start or 0), 0, some_k.shape[1])
        inputs = q, some_k, some_v, seen, *per_query
        shapes = some_k.shape, some_v.shape
        some = library.call(Program.ATTENTION_KEY_GRADIENTS, shapes, *inputs)
        of_k.append(some[0])
        of_v.append(some[1])
    return of_q, jnp.concatenate(of_k, axis=1), jnp.concatenate(of_v, axis=1)
