"""Fused attention of GPUs and TPUs: scores never lie in main memory.

cudnn    cuDNN's, by `jax.nn.dot_product_attention`: NVIDIA GPUs, 16 bits
pallas   jax's splash attention: TPUs
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array

from aa_jax.kernels import sharding
from aa_jax.kernels.plain_attention import BLOCK, SAVED, scaled

TILE = 128
"""What fused kernels want lengths to be multiples of."""


def cudnn(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """cuDNN's fused attention.

    On Hopper the backward pass of lengths that are no multiple of 128 can give NaN, because the
    last tile is not masked; such calls get padded keys and a mask of lengths.
    """
    own = k.shape[1]
    if key_lengths is None and (own % TILE or q.shape[1] % TILE):
        key_lengths = jnp.full(len(k), own)
    k, v = (_padded(x, TILE) for x in (k, v))
    lengths = () if key_lengths is None else (key_lengths.astype(jnp.int32),)

    def attend(q: Array, k: Array, v: Array, *lengths: Array) -> Array:
        seen = lengths[0] if lengths else None
        return jax.nn.dot_product_attention(
            q, k, v, key_value_seq_lengths=seen, implementation="cudnn"
        )

    # No checkpoint_name: see `saves_residuals`.
    return sharding.by_device(attend, q, k, v, *lengths, check_vma=False)


def pallas(
    q: Array, k: Array, v: Array, key_lengths: Array | None = None, *, interpret: bool = False
) -> Array:
    """Splash attention, without a mask of its own.

    Args:
      q: queries [b, s, n, d].
      k: keys [b, r, n, d].
      v: values [b, r, n, d].
      key_lengths: how many of its first keys a sample sees [b]; None: all.
      interpret: computes what the kernel would, on any platform.
    """
    queries, keys = q.shape[1], k.shape[1]
    q = scaled(q)  # which the kernel does not do
    q, k, v = (rearrange(_padded(x, TILE), "b s n d -> b n s d") for x in (q, k, v))
    if key_lengths is None and k.shape[2] != keys:
        key_lengths = jnp.full(len(k), keys)
    lengths = () if key_lengths is None else (key_lengths,)

    def attend(q: Array, k: Array, v: Array, *lengths: Array) -> Array:
        one = functools.partial(_splash, interpret=interpret)
        return jax.vmap(one)(q, k, v, *lengths)

    out = sharding.by_device(attend, q, k, v, *lengths, check_vma=False)
    return rearrange(out, "b n s d -> b s n d")[:, :queries]


def _splash(q: Array, k: Array, v: Array, key_length: Array | None = None, *, interpret: bool):
    """Splash attention of one sample; lengths are multiples of `TILE`."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel,
        splash_attention_mask,
    )

    heads, queries, keys = *q.shape[:2], k.shape[1]
    block_q, block_kv = _block(queries), _block(keys)
    kernel = splash_attention_kernel.make_splash_mha_single_device(
        splash_attention_mask.MultiHeadMask(
            [splash_attention_mask.FullMask((queries, keys))] * heads
        ),
        block_sizes=splash_attention_kernel.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_q_dq=block_q,
            block_kv_dq=block_kv,
        ),
        residual_checkpoint_name=SAVED,
        interpret=interpret,
    )
    if key_length is None:
        return kernel(q, k, v)
    # A query sees keys of its own segment.
    hidden = (jnp.arange(keys) >= key_length).astype(jnp.int32)
    segments = splash_attention_kernel.SegmentIds(jnp.zeros(queries, jnp.int32), hidden)
    return kernel(q, k, v, segments)


def _block(length: int) -> int:
    """The largest block of whole tiles, up to `BLOCK`, that divides a length."""
    return max(n for n in range(TILE, BLOCK + 1, TILE) if length % n == 0)


def _padded(x: Array, multiple: int) -> Array:
    """Zeros after the tokens [b, s, n, d] up to a multiple."""
    missing = -x.shape[1] % multiple
    return jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else x


def saves_residuals(primitive: Any, *_: Any, **__: Any) -> bool:
    """Policy of `jax.checkpoint`: saves what cuDNN's backward pass reads of its forward pass.

    Both are results of one primitive, inside jax's own rule of differentiation where no name can
    be given to them. Without this the backward pass runs the forward kernel again.
    """
    return primitive.name == "dot_product_attention_fwd_wrapper"
