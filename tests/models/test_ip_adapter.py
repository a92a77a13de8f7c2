"""IP-Adapter and the pose's ControlNet against diffusers, from files under the public names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from parity import nchw, nhwc, normal, params_of, perturbed

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    IPAdapterConfig,
    ModelConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    PromptConfig,
    ReferenceConfig,
    UNetConfig,
)
from aa_jax.models import animate_anyone, ip_adapter, torch_names
from aa_jax.models.image_resnet import transformer_levels
from convert.reading import ip_adapter as names

LINEAR = ModelConfig(
    unet=UNetConfig(
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_levels=(True, False),
        num_attention_heads=2,
        cross_attention_dim=12,
        norm_num_groups=4,
    ),
    motion_module=MotionModuleConfig(enabled=False),
    pose_guider=PoseGuiderConfig(kind="whole_controlnet", block_out_channels=(4, 6, 8)),
    autoencoder=AutoencoderConfig(block_out_channels=(4, 8, 8)),
    image_encoder=ImageEncoderConfig(
        hidden_size=10,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        projection_dim=6,
    ),
    reference=ReferenceConfig(kind="ip_adapter"),
    ip_adapter=IPAdapterConfig(scale=0.7, resampler_width=16, resampler_heads=1),
    prompt=PromptConfig(tokens=5),
)
PLUS = dataclasses.replace(
    LINEAR, ip_adapter=dataclasses.replace(LINEAR.ip_adapter, projection="resampler", tokens=3)
)
MODELS = {"ip-adapter_sd15": LINEAR, "ip-adapter-plus_sd15": PLUS}
BLOCKS = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "attention_head_dim": 2,
    "cross_attention_dim": 12,
    "norm_num_groups": 4,
}


def adapter_params(model):
    """Random parameters of the tree `ip_adapter`."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(lambda: ip_adapter.init_params(jax.random.key(0), model))
    return jax.tree.map(lambda x: (0.3 * rng.standard_normal(x.shape)).astype(np.float32), shapes)


def public_file(model, params):
    """What diffusers loads: two groups of tensors under IP-Adapter's own names."""
    groups = {"image_proj": {}, "ip_adapter": {}}
    for key, x in names.public(torch_names.to_torch(params), model.unet).items():
        group, _, name = key.partition(".")
        groups[group][name] = torch.tensor(x)
    return groups


def diffusers_networks(model, params):
    torch.manual_seed(0)
    up = ("UpBlock2D", "CrossAttnUpBlock2D")
    unet = perturbed(UNet2DConditionModel(**BLOCKS, up_block_types=up))
    widths = model.pose_guider.block_out_channels
    control = perturbed(ControlNetModel(**BLOCKS, conditioning_embedding_out_channels=widths))
    trees = {"denoising_unet": params_of(unet), "pose_controlnet": params_of(control)}
    unet._load_ip_adapter_weights([public_file(model, params)], low_cpu_mem_usage=False)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [model.ip_adapter.scale]
    return unet.eval(), control, trees


@pytest.mark.parametrize("name", MODELS)
def test_unet_with_adapter_and_controlnet_is_that_of_diffusers(name):
    """Two frames of one clip here are a batch of two pictures there."""
    model, frames = MODELS[name], 2
    adapter = adapter_params(model)
    unet, control, trees = diffusers_networks(model, adapter)
    latents, prompt = normal(frames, 4, 8, 8), normal(5, 12, seed=1)
    embeds = normal(1, *((5, 10) if model.reads_patches else (1, 6)), seed=2)
    skeletons, timestep = np.abs(normal(frames, 3, 32, 32, seed=3)), 400

    with torch.no_grad():
        text = torch.tensor(prompt).expand(frames, -1, -1)
        down, mid = control(
            torch.tensor(latents), timestep, text, torch.tensor(skeletons), return_dict=False
        )
        image = torch.tensor(embeds if model.reads_patches else embeds[:, 0])
        expected = unet(
            torch.tensor(latents),
            timestep,
            text,
            added_cond_kwargs={"image_embeds": [image[:, None].repeat_interleave(frames, 0)]},
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample.numpy()

    networks = animate_anyone.Networks.create(model)
    params = {**trees, "ip_adapter": adapter, "prompt": {"embeds": jnp.asarray(prompt)}}
    if model.reads_patches:  # which the unconditional half, not asked for here, would use
        params["image_encoder"] = image_encoder_params(model)
    predict = jax.jit(lambda params, **given: animate_anyone.predict(networks, params, **given))
    found = predict(
        params,
        noisy_latents=nhwc(latents)[None],
        timesteps=jnp.asarray([timestep]),
        image_embeds=jnp.asarray(embeds),
        pose_pictures=nhwc(skeletons)[None],
    )

    error = np.abs(nchw(found[0]) - expected).max() / np.abs(expected).max()
    assert error < 1e-4


def image_encoder_params(model):
    from aa_jax.models.image_encoder import ImageEncoder

    return ImageEncoder.of(model).init_params(jax.random.key(1))


def test_a_resampler_s_unconditional_tokens_are_those_of_a_picture_of_zeros():
    from aa_jax.models.image_encoder import ImageEncoder

    params = {"ip_adapter": adapter_params(PLUS), "image_encoder": image_encoder_params(PLUS)}
    encoder, networks = ImageEncoder.of(PLUS), animate_anyone.Networks.create(PLUS)
    black = encoder.encode(params["image_encoder"], jnp.zeros((1, 8, 8, 3)))

    encoded = animate_anyone.encode_reference(networks, params, None, black)

    assert black.shape == (1, 5, 10)
    jax.tree.map(np.testing.assert_array_equal, encoded["shown"], encoded["hidden"])


def test_keys_and_values_start_as_those_of_the_prompt():
    fresh, rng = adapter_params(LINEAR), np.random.default_rng(0)
    unet = {}
    for path in transformer_levels(LINEAR.unet):
        node = unet
        for part in (*path.split("/"), "attn2"):
            node = node.setdefault(part, {})
        node |= {n: {"kernel": rng.standard_normal((2, 2))} for n in ("to_q", "to_k", "to_v")}

    start = ip_adapter.with_projections_of(fresh, unet)

    block = ("mid_block", "attentions_0", "transformer_blocks_0", "attn2")
    ours, theirs = start, unet
    for part in block:
        ours, theirs = ours[part], theirs[part]
    np.testing.assert_array_equal(ours["to_k_ip"]["kernel"], theirs["to_k"]["kernel"])
    np.testing.assert_array_equal(ours["to_v_ip"]["kernel"], theirs["to_v"]["kernel"])
    assert start[ip_adapter.PROJECTION] == fresh[ip_adapter.PROJECTION]
