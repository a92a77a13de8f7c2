"""`config.json` files that diffusers and transformers read, from our architecture."""

from __future__ import annotations

import dataclasses
from typing import Any

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    NoiseScheduleConfig,
    UNetConfig,
)
from convert import ConvertError

Values = dict[str, Any]


def unet(config: UNetConfig) -> Values:
    """For diffusers' `UNet2DConditionModel`."""
    levels = config.attention_levels
    return {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": config.num_attention_heads,
        "block_out_channels": list(config.block_out_channels),
        "center_input_sample": False,
        "cross_attention_dim": config.cross_attention_dim,
        "down_block_types": [
            "CrossAttnDownBlock2D" if level else "DownBlock2D" for level in levels
        ],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": config.in_channels,
        "layers_per_block": config.layers_per_block,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
        "norm_num_groups": config.norm_num_groups,
        "out_channels": config.out_channels,
        "sample_size": 64,
        "up_block_types": [
            "CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(levels)
        ],
    }


def controlnet(model: ModelConfig, hint_channels: tuple[int, ...]) -> Values:
    """For diffusers' `ControlNetModel`, whose hint encoder has these widths."""
    names = ("center_input_sample", "mid_block_scale_factor", "out_channels", "sample_size")
    values = {k: v for k, v in unet(model.unet).items() if k not in (*names, "up_block_types")}
    return {
        **values,
        "_class_name": "ControlNetModel",
        "conditioning_channels": 3,
        "conditioning_embedding_out_channels": list(hint_channels),
        "controlnet_conditioning_channel_order": "rgb",
        "global_pool_conditions": False,
        "mid_block_scale_factor": 1,
    }


def autoencoder(config: AutoencoderConfig) -> Values:
    """For diffusers' `AutoencoderKL`."""
    levels = len(config.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(config.block_out_channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "in_channels": 3,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_num_groups,
        "out_channels": 3,
        "sample_size": 512,
        "scaling_factor": config.scaling_factor,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def image_encoder(config: ImageEncoderConfig) -> Values:
    """For transformers' `CLIPVisionModelWithProjection`."""
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "layer_norm_eps": 1e-5,
        "num_channels": 3,
        **dataclasses.asdict(config),
    }


def motion_adapter(model: ModelConfig) -> Values:
    """For diffusers' `MotionAdapter`.

    Raises:
      ConvertError: it knows no such motion modules.
    """
    motion = model.motion_module
    if (motion.num_transformer_blocks, motion.num_attention_layers) != (1, 2):
        raise ConvertError(
            "motion_module: a MotionAdapter has 1 block of 2 attentions, these have "
            f"{motion.num_transformer_blocks} of {motion.num_attention_layers}; use --layout moore"
        )
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": list(model.unet.block_out_channels),
        "motion_layers_per_block": model.unet.layers_per_block,
        "motion_max_seq_length": motion.max_positions,
        "motion_mid_block_layers_per_block": 1,
        "motion_norm_num_groups": motion.norm_num_groups,
        "motion_num_attention_heads": motion.num_attention_heads,
        "use_motion_mid_block": motion.mid_block,
    }


def scheduler(config: NoiseScheduleConfig) -> Values:
    """For diffusers' `DDIMScheduler`."""
    return {"_class_name": "DDIMScheduler", "clip_sample": False, **dataclasses.asdict(config)}
