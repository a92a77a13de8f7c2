"""Spatial transformers against diffusers, and the single-token shortcut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import Transformer2DModel
from golden_modules import group, load_modules, part
from parity import apply, nchw, nhwc, normal, params_of, perturbed, random_params

from aa_jax.models.transformer import Transformer2D


@pytest.mark.parametrize("std", [1.0, 0.003])  # the small one shows a wrong epsilon
@pytest.mark.parametrize("tokens", [1, 3])
def test_transformer_is_diffusers(tokens, std):
    torch.manual_seed(0)
    theirs = perturbed(
        Transformer2DModel(2, 8, in_channels=16, cross_attention_dim=6, norm_num_groups=4)
    )
    x, context = normal(2, 16, 5, 3, std=std), normal(2, tokens, 6, seed=1)

    ours, _ = apply(Transformer2D(2, 4), params_of(theirs), nhwc(x)[:, None], jnp.asarray(context))

    with torch.no_grad():
        (expected,) = theirs(torch.from_numpy(x), torch.from_numpy(context), return_dict=False)
    np.testing.assert_allclose(nchw(ours[:, 0]), expected, atol=5e-5)


def test_single_token_shortcut_is_exact():
    x, context = jnp.asarray(normal(2, 3, 4, 5, 16)), jnp.asarray(normal(2, 1, 6, seed=1))
    short = Transformer2D(2, 4)
    plain = Transformer2D(2, 4, single_token_shortcut=False)
    params = random_params(short, x, context, std=0.3)

    y, normed = apply(short, params, x, context)

    expected, expected_normed = apply(plain, params, x, context)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(normed, expected_normed, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 3])
def test_parameters_do_not_depend_on_the_number_of_tokens(tokens):
    module = Transformer2D(2, 4)

    def shapes(tokens):
        init = module.init
        args = jax.random.key(0), jnp.zeros((1, 1, 2, 2, 16)), jnp.zeros((1, tokens, 6))
        return jax.eval_shape(init, *args)

    assert shapes(tokens) == shapes(2)


@pytest.mark.parametrize("tag", ["unit", "small"])
def test_transformer_is_moores_on_clips(tag):
    probes, params = load_modules("probes"), part("mid_block.attentions.0")

    y, _ = apply(
        Transformer2D(4, 32), params, nhwc(probes[f"in/x_{tag}"]), jnp.asarray(probes["in/enc"])
    )

    # Outputs have a standard deviation of 4; float32 against float64 differs by 7e-6.
    np.testing.assert_allclose(nchw(y), probes[f"out/mid_block.attentions.0/{tag}"], atol=5e-5)


@pytest.mark.parametrize("case", ["plain", "guided"])
def test_reference_attention_is_moores(case):
    # Given the mid block's input in a whole run, and what the ReferenceNet handed over
    run, params = group("mid_block", case), part("mid_block.attentions.0")
    x, embeds = nhwc(run["mid_block.resnets.0"]), jnp.asarray(run["image_embeds"])
    if case == "guided":  # the unconditional sample comes first, and has no reference
        embeds = jnp.concatenate([jnp.zeros_like(embeds), embeds])
    attn1 = params["transformer_blocks_0"]["attn1"]
    bank = jnp.asarray(run["bank"])
    reference = tuple(bank @ attn1[name]["kernel"] for name in ("to_k", "to_v"))

    # when the transformer reads it
    y, _ = apply(Transformer2D(4, 32), params, x, embeds, reference)

    # then the result is theirs, to the rounding of values up to about 50
    expected = run["mid_block.attentions.0"]
    np.testing.assert_allclose(nchw(y), expected, atol=2e-6 * np.abs(expected).max())
