"""Scaled dot-product attention as it is defined, and what all its kernels share."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from aa_jax.kernels import sharding

SAVED = "attention"
"""`checkpoint_name` of what a backward pass should not compute again."""

BLOCK = 512
"""Queries, and keys, that a kernel takes at once."""


def xla(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """All heads of all samples at once."""
    return checkpoint_name(_plain(q, k, v, key_lengths), SAVED)


def _plain(q: Array, k: Array, v: Array, key_lengths: Array | None) -> Array:
    logits = jnp.einsum("bsnd,brnd->bnsr", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(masked(logits, key_lengths), axis=-1).astype(v.dtype)
    return jnp.einsum("bnsr,brnd->bsnd", weights, v)


def blocked(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """One block of queries of one sample after the other, on every device for its own samples.

    Takes the memory of the fused kernels, not their time.
    """
    key_lengths = lengths_of(k, key_lengths)
    block = math.gcd(q.shape[1], BLOCK)

    def one_sample(inputs: tuple[Array, ...]) -> Array:
        q, k, v, length = (x[None] for x in inputs)

        @jax.checkpoint
        def one_block(q: Array) -> Array:
            return _plain(q, k, v, length)

        blocks = jax.lax.map(one_block, rearrange(q, "1 (i s) n d -> i 1 s n d", s=block))
        return rearrange(blocks, "i 1 s n d -> (i s) n d")

    def all_samples(*inputs: Array) -> Array:
        return jax.lax.map(one_sample, inputs)

    return checkpoint_name(sharding.by_device(all_samples, q, k, v, key_lengths), SAVED)


def scaled(q: Array) -> Array:
    """Queries whose products with keys are the logits, rounded once more."""
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def lengths_of(k: Float[Array, "b r n d"], key_lengths: Int[Array, " b"] | None) -> Array:
    """How many of its keys a sample sees [b]: all where it is not said."""
    return jnp.full(len(k), k.shape[1]) if key_lengths is None else key_lengths


def masked(logits: Float[Array, "*b s r"], key_lengths: Int[Array, "*c"] | None) -> Array:
    """Logits, those of keys beyond the lengths of their samples (the first axes) minus infinity."""
    if key_lengths is None:
        return logits
    keys = jnp.arange(logits.shape[-1]).reshape((1,) * (logits.ndim - 1) + (-1,))
    lengths = key_lengths.reshape(key_lengths.shape + (1,) * (logits.ndim - key_lengths.ndim))
    return jnp.where(keys < lengths, logits, -jnp.inf)
