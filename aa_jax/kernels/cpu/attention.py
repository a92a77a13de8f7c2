"""Attention on a CPU, in ways that its caches are made for.

    native    C++ of this package: long sequences, where there is a compiler
    by_head   one head of one sample after the other: long sequences
    short     products of batches of matrices: short sequences

Which a call takes is decided in `aa_jax.kernels.attention`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from aa_jax.kernels.cpu.native import attention as native_attention
from aa_jax.kernels.plain_attention import SAVED, lengths_of, masked, scaled

MOST_QUERIES, FEWEST_QUERIES = 512, 128
"""Of a head that are taken at once, where their number can be divided so."""

FEW_ROWS = 32
"""Of matrices that are not worth a product of matrices."""


@jax.custom_vjp
def native(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """In float32, blocks of scores that never leave the caches of one core."""
    return _native_forward(q, k, v, key_lengths)[0]


def _native_forward(q: Array, k: Array, v: Array, key_lengths: Array | None) -> tuple[Array, Any]:
    key_lengths = lengths_of(k, key_lengths)
    out, log_totals = native_attention.forward(q, k, v, key_lengths)
    out = checkpoint_name(out.astype(v.dtype), SAVED)
    return out, (q, k, v, key_lengths, out, checkpoint_name(log_totals, SAVED))


def _native_backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, key_lengths, out, log_totals = saved
    gradients = native_attention.backward(
        q, k, v, key_lengths, gradient, log_totals, _means(gradient, out)
    )
    return *(x.astype(q.dtype) for x in gradients), None


native.defvjp(_native_forward, _native_backward)


def _means(gradient: Float[Array, "b s n d"], out: Float[Array, "b s n d"]) -> Array:
    """What every query's scores lose: the mean [b, s, n] of their weights' gradients."""
    return (gradient.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)


@jax.custom_vjp
def by_head(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """The same for some queries of one head of one sample after the other.

    On a CPU many times as fast as all heads at once, whose scores travel to main memory and back;
    and only few scores exist at a time, of which a large picture has gigabytes: the backward pass
    computes them again.
    """
    return _by_head_forward(q, k, v, key_lengths)[0]


def _by_head_forward(q: Array, k: Array, v: Array, key_lengths: Array | None) -> tuple[Array, Any]:
    """Divides the sums of values instead of the weights, which then are part of the product."""

    def one_head(inputs: Any) -> tuple[Array, Array]:
        q, k, v = inputs

        def some_queries(q: Array) -> tuple[Array, Array]:
            logits = _product(q, k)
            largest = logits.max(1, keepdims=True)
            weights = jnp.exp(logits - largest)
            total = weights.sum(1, keepdims=True)
            values = _product(weights.astype(v.dtype), v) / total
            return values.astype(v.dtype), (largest + jnp.log(total))[:, 0]

        return jax.lax.map(some_queries, q)

    heads = q.shape[2]
    queries, keys = _with_mask(scaled(q), k, key_lengths)
    queries = rearrange(queries, "b (i s) n d -> (b n) i s d", s=_queries_at_once(q.shape[1]))
    keys, values = rearrange(keys, "b s n d -> (b n) d s"), rearrange(v, "b s n d -> (b n) s d")
    out, log_totals = jax.lax.map(one_head, (queries, keys, values))
    out = checkpoint_name(rearrange(out, "(b n) i s d -> b (i s) n d", n=heads), SAVED)
    return out, (q, k, v, key_lengths, out, checkpoint_name(log_totals, SAVED))


def _by_head_backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
    """As FlashAttention's (Dao et al. 2022); in no product is a matrix of scores turned."""
    q, k, v, key_lengths, out, log_totals = saved
    heads, channels, block = *q.shape[2:], _queries_at_once(q.shape[1])

    def one_head(inputs: Any) -> tuple[Array, Array, Array]:
        *per_query, k, v = inputs

        def some_queries(sums: Any, inputs: Any) -> tuple[Any, Array]:
            q, gradient, log_total, mean = inputs
            weights = jnp.exp(_product(q, k) - log_total[:, None])
            of_logits = (weights * (_product(gradient, v) - mean[:, None])).astype(q.dtype)
            of_k, of_v = sums
            of_k += _product(q.T, of_logits)
            of_v += _product(gradient.T, weights.astype(v.dtype))
            return (of_k, of_v), _product(k, of_logits.T)

        zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
        (of_k, of_v), of_q = jax.lax.scan(some_queries, zeros, tuple(per_query))
        return of_q, of_k, of_v

    queries, keys = _with_mask(scaled(q), k, key_lengths)
    of_q, of_k, of_v = jax.lax.map(
        one_head,
        (
            rearrange(queries, "b (i s) n d -> (b n) i s d", s=block),
            rearrange(gradient, "b (i s) n d -> (b n) i s d", s=block),
            log_totals,
            rearrange(_means(gradient, out), "b (i s) n -> (b n) i s", s=block),
            rearrange(keys, "b s n d -> (b n) d s"),
            rearrange(v, "b s n d -> (b n) d s"),
        ),
    )
    of_q = rearrange(of_q[:, :, :channels], "(b n) i d s -> b (i s) n d", n=heads)
    of_q *= channels**-0.5
    of_k, of_v = (rearrange(x[:, :channels], "(b n) d s -> b s n d", n=heads) for x in (of_k, of_v))
    return of_q.astype(q.dtype), of_k.astype(k.dtype), of_v.astype(v.dtype), None


by_head.defvjp(_by_head_forward, _by_head_backward)


def _with_mask(q: Array, k: Array, key_lengths: Array | None) -> tuple[Array, Array]:
    """Queries and keys whose products are next to minus infinity for keys not to be seen.

    By one more channel of both: what were added to the products, XLA's CPU backend would add to all
    of them in memory.
    """
    if key_lengths is None:
        return q, k
    hidden = jnp.arange(k.shape[1])[None] >= key_lengths[:, None]
    channel = jnp.where(hidden, -1e30, 0).astype(k.dtype)
    channel = jnp.broadcast_to(channel[:, :, None, None], (*k.shape[:3], 1))
    ones = jnp.ones((*q.shape[:3], 1), q.dtype)
    return jnp.concatenate([q, ones], axis=-1), jnp.concatenate([k, channel], axis=-1)


def _queries_at_once(queries: int) -> int:
    """Their largest divisor up to `MOST_QUERIES`, or all where that is a small one."""
    largest = max(n for n in range(1, MOST_QUERIES + 1) if queries % n == 0)
    return largest if largest >= FEWEST_QUERIES else queries


def _length_per_head(key_lengths: Array | None, heads: int) -> Array | None:
    return None if key_lengths is None else repeat(key_lengths, "b -> (b n)", n=heads)


def short(q: Array, k: Array, v: Array, key_lengths: Array | None = None) -> Array:
    """All heads of all samples at once, in products [b, s, k] times [b, k, r], also of gradients.

    What differentiating `xla` leads to are products over other axes; a CPU takes up to ten times as
    long for those of thousands of small matrices.
    """
    return checkpoint_name(_short(q, k, v, key_lengths), SAVED)


@jax.custom_vjp
def _short(q: Array, k: Array, v: Array, key_lengths: Array | None) -> Array:
    return _short_forward(q, k, v, key_lengths)[0]


def _short_forward(q: Array, k: Array, v: Array, key_lengths: Array | None) -> tuple[Array, Any]:
    heads = q.shape[2]
    q, k, v = (rearrange(x, "b s n d -> (b n) s d") for x in (q, k, v))
    logits = _product(q, jnp.swapaxes(k, 1, 2)) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(masked(logits, _length_per_head(key_lengths, heads)), axis=-1)
    out = _product(weights.astype(v.dtype), v).astype(v.dtype)
    return rearrange(out, "(b n) s d -> b s n d", n=heads), (q, k, v, weights)


def _short_backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, weights = saved
    heads = gradient.shape[2]
    gradient = rearrange(gradient, "b s n d -> (b n) s d")
    of_weights = _product(gradient, jnp.swapaxes(v, 1, 2))
    of_logits = weights * (of_weights - (weights * of_weights).sum(-1, keepdims=True))
    of_logits = (of_logits * q.shape[-1] ** -0.5).astype(q.dtype)
    gradients = (
        _product(of_logits, k),
        _turned_product(of_logits, q),
        _turned_product(weights.astype(v.dtype), gradient),
    )
    return *(rearrange(x.astype(q.dtype), "(b n) s d -> b s n d", n=heads) for x in gradients), None


_short.defvjp(_short_forward, _short_backward)


def _turned_product(a: Float[Array, "b k m"], b: Float[Array, "b k n"]) -> Float[Array, "b m n"]:
    """`aᵀ b`; of few rows as a sum over them, which takes half of many small products' time."""
    if a.shape[1] > FEW_ROWS:
        return _product(jnp.swapaxes(a, 1, 2), b)
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return (a[..., None] * b[:, :, None]).sum(1)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)
