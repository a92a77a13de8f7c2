"""The ControlNet against diffusers, and that it starts as nothing."""

import jax
import numpy as np
import torch
from diffusers import ControlNetModel
from parity import apply, nchw, nhwc, normal, params_of, perturbed

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    ReferenceConfig,
    UNetConfig,
)
from aa_jax.models import controlnet, reference

MODEL = ModelConfig(
    unet=UNetConfig(
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_levels=(True, False),
        num_attention_heads=2,
        cross_attention_dim=6,
        norm_num_groups=4,
    ),
    autoencoder=AutoencoderConfig(block_out_channels=(4, 8, 8)),
    image_encoder=ImageEncoderConfig(projection_dim=6),
    reference=ReferenceConfig(kind="controlnet", hint_channels=(4, 6, 8)),
)


def diffusers_control_net():
    torch.manual_seed(0)
    return perturbed(
        ControlNetModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            attention_head_dim=2,
            cross_attention_dim=6,
            norm_num_groups=4,
            conditioning_embedding_out_channels=(4, 6, 8),
        )
    )


def test_residuals_are_those_of_diffusers():
    theirs, ours = diffusers_control_net(), controlnet.create(MODEL.unet)
    latents, context = normal(2, 4, 8, 8), normal(2, 3, 6, seed=1)
    picture, timesteps = np.abs(normal(2, 3, 32, 32, seed=2)), np.array([7, 900])
    with torch.no_grad():
        down, mid = theirs(
            torch.tensor(latents),
            torch.tensor(timesteps),
            torch.tensor(context),
            torch.tensor(picture),
            return_dict=False,
        )

    params = params_of(theirs)
    encoder = controlnet.hint_encoder(MODEL)
    hint = apply(encoder, params[controlnet.HINT_ENCODER], nhwc(picture)[:, None])
    residuals = apply(ours, params, nhwc(latents)[:, None], timesteps, context, hint)

    assert len(residuals) == len(down) + 1
    for x, expected in zip(residuals, (*down, mid), strict=True):
        expected = expected.numpy()
        error = np.abs(nchw(x[:, 0]) - expected).max() / np.abs(expected).max()
        assert error < 1e-5


def test_parameters_are_those_of_diffusers():
    ours = jax.eval_shape(lambda: reference.init_params(jax.random.key(0), MODEL, "controlnet"))

    theirs = params_of(diffusers_control_net())
    assert jax.tree.map(np.shape, theirs) == jax.tree.map(np.shape, ours)


def test_it_starts_as_a_copy_whose_output_is_nothing():
    fresh = {"conv_in": 0, "mid_block": 0, "controlnet_mid_block": 0, controlnet.HINT_ENCODER: 0}

    start = controlnet.with_encoder_of(fresh, {"conv_in": 1, "mid_block": 1, "up_blocks_0": 1})

    assert start == fresh | {"conv_in": 1, "mid_block": 1}
