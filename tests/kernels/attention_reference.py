"""Softmax attention and its gradients, written out in float64."""

import numpy as np


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
