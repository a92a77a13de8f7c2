"""What config.json files of diffusers and transformers say."""

import dataclasses

import pytest

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    UNetConfig,
)
from convert import ConvertError
from convert.reading import architectures
from convert.writing import folders

SD15 = {  # unet/config.json of stable-diffusion-v1-5
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
}
CLIP = {  # config.json of clip-vit-large-patch14, shortened
    "projection_dim": 768,
    "text_config": {"hidden_size": 768},
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 512,
        "hidden_act": "quick_gelu",
    },
}


def test_published_configs_are_the_presets():
    assert architectures.unet(SD15, "config.json") == UNetConfig()
    assert architectures.image_encoder(CLIP, "config.json") == ImageEncoderConfig()
    assert architectures.image_encoder(CLIP["vision_config"] | {"projection_dim": 768}, "") == (
        ImageEncoderConfig()
    )
    old_vae = {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4}
    assert architectures.autoencoder(old_vae, "config.json") == AutoencoderConfig()


def test_our_own_configs_come_back():
    model = ModelConfig(
        unet=UNetConfig(
            block_out_channels=(32, 64), attention_levels=(False, True), num_attention_heads=4
        ),
        motion_module=MotionModuleConfig(max_positions=24, mid_block=False, norm_num_groups=16),
        autoencoder=AutoencoderConfig(block_out_channels=(32, 64), scaling_factor=0.5),
        image_encoder=ImageEncoderConfig(hidden_size=64, num_attention_heads=2),
    )
    schedule = NoiseScheduleConfig(beta_schedule="linear", prediction_type="v_prediction")
    assert architectures.unet(folders.unet(model.unet), "") == model.unet
    assert architectures.autoencoder(folders.autoencoder(model.autoencoder), "") == (
        model.autoencoder
    )
    clip = folders.image_encoder(model.image_encoder)
    assert architectures.image_encoder(clip, "") == model.image_encoder
    adapter = folders.motion_adapter(model)
    assert architectures.motion_adapter(adapter, "") == model.motion_module
    assert architectures.noise_schedule(folders.scheduler(schedule), "") == schedule


@pytest.mark.parametrize(
    ("function", "values", "message"),
    [
        (architectures.unet, {"attention_head_dim": [5, 10, 20, 20]}, "Stable Diffusion 2.x"),
        (architectures.unet, {"addition_embed_type": "text_time"}, "addition_embed_type"),
        (architectures.unet, {"down_block_types": ["AttnDownBlock2D"]}, "AttnDownBlock2D"),
        (architectures.unet, {"norm_eps": 1e-6}, "norm_eps 1e-06"),
        (architectures.unet, {"block_out_channels": 320}, "block_out_channels must be a list"),
        (architectures.autoencoder, {"scaling_factor": 0.13025}, "VAE of SDXL"),
        (architectures.autoencoder, {"shift_factor": 0.1}, "shift_factor"),
        (architectures.image_encoder, {"hidden_act": "relu"}, "hidden_act must be one of"),
        (architectures.motion_adapter, {"conv_in_channels": 9}, "conv_in_channels"),
        (architectures.noise_schedule, {"beta_schedule": "squaredcos"}, "beta_schedule must be"),
    ],
)
def test_what_has_no_equal_here_is_refused_by_its_field(function, values, message):
    with pytest.raises(ConvertError, match=message) as error:
        function(values, "x/config.json")
    assert str(error.value).startswith("x/config.json: ")


def test_a_motion_adapter_has_two_attentions():
    motion = MotionModuleConfig(num_attention_layers=1)
    with pytest.raises(ConvertError, match="use --layout moore"):
        folders.motion_adapter(dataclasses.replace(ModelConfig(), motion_module=motion))
