"""Inputs of attention kernels, and softmax attention and its gradients written out in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from parity import normal

B, S, OWN, R, N = 2, 96, 96, 200, 2
"""Samples, queries, own keys, own and reference keys, heads; no length is a whole tile."""


def inputs(head_dim, dtype=jnp.float32, lengths=(S, R, R, S)):
    """Queries, keys, values, and the cotangent of the result."""
    return [
        jnp.asarray(normal(B, length, N, head_dim, seed=i), dtype)
        for i, length in enumerate(lengths)
    ]


def value_and_gradients(kernel, q, k, v, cotangent, key_lengths=None):
    """A kernel's result and its gradients by q, k and v."""

    @jax.jit
    def both(q, k, v):
        out, pullback = jax.vjp(lambda *qkv: kernel(*qkv, key_lengths), q, k, v)
        return out, *pullback(cotangent)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return both(q, k, v)


def expected(q, k, v, cotangent, key_lengths=None):
    """What `value_and_gradients` of a kernel should return."""
    arrays = [np.asarray(x, np.float32) for x in (q, k, v, cotangent)]
    return (
        plain_attention(*arrays[:3], key_lengths=key_lengths),
        *plain_gradients(*arrays, key_lengths=key_lengths),
    )


def plain_attention(q, k, v, key_lengths=None):
    """Of queries [b s n d], keys and values [b r n d]; a sample sees its first keys."""
    return np.einsum("bnsr,brnd->bsnd", _weights(q, k, key_lengths), v.astype(np.float64))


def plain_gradients(q, k, v, cotangent, key_lengths=None):
    """Of `sum(cotangent * plain_attention(q, k, v))` by q, k and v."""
    weights = _weights(q, k, key_lengths)
    by_weights = np.einsum("bsnd,brnd->bnsr", cotangent.astype(np.float64), v)
    by_logits = weights * (by_weights - (weights * by_weights).sum(-1, keepdims=True))
    by_logits /= np.sqrt(q.shape[-1])
    return (
        np.einsum("bnsr,brnd->bsnd", by_logits, k),
        np.einsum("bnsr,bsnd->brnd", by_logits, q),
        np.einsum("bnsr,bsnd->brnd", weights, cotangent),
    )


def _weights(q, k, key_lengths):
    logits = np.einsum("bsnd,brnd->bnsr", q.astype(np.float64), k.astype(np.float64))
    logits /= np.sqrt(q.shape[-1])
    if key_lengths is not None:
        hidden = np.arange(k.shape[1]) >= np.asarray(key_lengths)[:, None]
        logits[np.broadcast_to(hidden[:, None, None], logits.shape)] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
