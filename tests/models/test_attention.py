"""Attention, reference attention and the feed-forward network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from attention_reference import plain_attention
from diffusers.models.attention import FeedForward as TorchFeedForward
from diffusers.models.attention_processor import Attention as TorchAttention
from diffusers.models.attention_processor import AttnProcessor
from parity import apply, normal, params_of, perturbed, random_params

from aa_jax import kernels
from aa_jax.models.attention import CrossAttention, FeedForward, SelfAttention

# b samples of g frames with s tokens; the reference has r.
B, G, S, R, C = 3, 2, 5, 4, 8


@pytest.fixture
def block():
    module = SelfAttention(num_heads=2)
    return module, random_params(module, jnp.zeros((1, 1, S, C)), std=0.5)


def tokens(b=B, seed=0):
    return jnp.asarray(normal(b, G, S, C, seed=seed))


def reference(b=B):
    return tuple(jnp.asarray(normal(b, R, C, seed=seed)) for seed in (3, 4))


def test_reference_is_concatenated_to_the_tokens_of_every_frame(block):
    module, params = block
    x = tokens()
    reference_tokens = jnp.asarray(normal(B, R, C, seed=5))
    projected = tuple(reference_tokens @ params[name]["kernel"] for name in ("to_k", "to_v"))

    y = apply(module, params, x, projected)

    # As peers compute it: the raw tokens repeated for every frame, joined, projected together.
    kernels = {name: np.asarray(layer["kernel"]) for name, layer in params.items()}
    for frame in range(G):
        own = np.asarray(x[:, frame])
        joined = np.concatenate([own, reference_tokens], axis=1)
        q, k, v = (
            (tokens @ kernels[name]).reshape(B, -1, 2, C // 2)
            for name, tokens in (("to_q", own), ("to_k", joined), ("to_v", joined))
        )
        out = plain_attention(q, k, v).reshape(B, S, C) @ kernels["to_out_0"]
        out = out + np.asarray(params["to_out_0"]["bias"])
        np.testing.assert_allclose(y[:, frame], out, atol=5e-6)


def test_samples_before_the_reference_do_plain_self_attention(block):
    module, params = block
    x = tokens()

    y = apply(module, params, x, reference(1))

    np.testing.assert_allclose(y[:2], apply(module, params, x[:2]), atol=1e-6)
    np.testing.assert_allclose(y[2:], apply(module, params, x[2:], reference(1)), atol=1e-6)


def test_masked_reference_is_no_reference(block):
    module, params = block
    x, mask = tokens(), jnp.asarray([True, False, True])

    y = apply(module, params, x, reference(), mask)

    np.testing.assert_allclose(y[1], apply(module, params, x)[1], atol=1e-6)
    with_reference = apply(module, params, x, reference())
    np.testing.assert_allclose(y[::2], with_reference[::2], atol=1e-6)


def test_masked_reference_gets_exactly_zero_gradient(block):
    module, params = block
    x, mask = tokens(), jnp.asarray([True, False, True])

    gradient = jax.jit(
        jax.grad(lambda r: jnp.sum(jnp.square(module.apply({"params": params}, x, r, mask))))
    )(reference())

    for g in gradient:
        assert not np.any(g[1])
        assert np.all(np.any(g[::2], axis=(1, 2)))
        assert np.all(np.isfinite(g))


def test_cross_attention_is_diffusers():
    torch.manual_seed(0)
    theirs = perturbed(TorchAttention(C, 6, heads=2, dim_head=C // 2, processor=AttnProcessor()))
    x, context = normal(B, G, S, C), normal(B, 3, 6, seed=1)

    ours = apply(CrossAttention(2), params_of(theirs), jnp.asarray(x), jnp.asarray(context))

    with torch.no_grad():
        expected = [theirs(torch.from_numpy(x[:, i]), torch.from_numpy(context)) for i in range(G)]
    np.testing.assert_allclose(ours, np.stack(expected, 1), atol=5e-6)


def test_self_attention_is_diffusers():
    torch.manual_seed(0)
    theirs = perturbed(TorchAttention(C, heads=2, dim_head=C // 2, processor=AttnProcessor()))
    x = normal(B, 1, S, C)

    ours = apply(SelfAttention(2), params_of(theirs), jnp.asarray(x))

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x[:, 0]))
    np.testing.assert_allclose(ours[:, 0], expected, atol=5e-6)


def test_feed_forward_is_diffusers():
    torch.manual_seed(0)
    theirs = perturbed(TorchFeedForward(C, activation_fn="geglu"))
    x = normal(B, S, C, std=3)  # wide enough for the tanh GELU to differ by 1e-3

    ours = apply(FeedForward(), params_of(theirs), jnp.asarray(x))

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_feed_forward_of_some_tokens_at_once_is_that_of_all(monkeypatch):
    x = tokens()
    module, params = FeedForward(), random_params(FeedForward(), x, std=0.5)

    def loss(params, x):
        return jnp.sum(jnp.sin(apply(module, params, x)))

    values_and_gradients = jax.value_and_grad(loss, argnums=(0, 1))
    whole = values_and_gradients(params, x)
    monkeypatch.setattr(kernels.tokens, "AT_ONCE", S)
    assert " while" in jax.jit(loss).lower(params, x).compile().as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        values_and_gradients(params, x),
        whole,
    )
