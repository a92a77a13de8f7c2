"""Architectures from the `config.json` of diffusers and transformers folders.

A field this project has no equal for must have the value SD 1.5 has; otherwise the folder is
refused by the field's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from aa_jax.config import (
    AutoencoderConfig,
    ConfigError,
    ImageEncoderConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    UNetConfig,
    from_dict,
)
from convert import ConvertError

T = TypeVar("T")
Values = Mapping[str, Any]

_UNET_FIXED = {
    "act_fn": ("silu",),
    "addition_embed_type": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "norm_eps": (1e-5,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",),
    "transformer_layers_per_block": (1,),
    "upcast_attention": (False, None),
}
_CONTROLNET_FIXED = {
    "conditioning_channels": (3,),
    "controlnet_conditioning_channel_order": ("rgb",),
    "global_pool_conditions": (False,),
}
_VAE_FIXED = {"act_fn": ("silu",), "in_channels": (3,), "out_channels": (3,)}
_CLIP_FIXED = {"num_channels": (3,), "layer_norm_eps": (1e-5,)}
_ADAPTER_FIXED = {
    "conv_in_channels": (None,),
    "motion_transformer_layers_per_block": (1, None),
    "motion_transformer_layers_per_mid_block": (1, None),
    "motion_mid_block_layers_per_block": (1,),
}
_DOWN_BLOCKS = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}


def unet(values: Values, where: str) -> UNetConfig:
    """From diffusers' `UNet2DConditionModel`."""
    _check(values, _UNET_FIXED, where)
    if isinstance(values.get("attention_head_dim", 8), list):
        raise ConvertError(
            f"{where}: attention_head_dim {values['attention_head_dim']}: heads per level, as in "
            "Stable Diffusion 2.x and XL; only 1.x can be used"
        )
    blocks = values.get("down_block_types", [])
    if unknown := [block for block in blocks if block not in _DOWN_BLOCKS]:
        raise ConvertError(f"{where}: down_block_types holds {unknown[0]!r}, unknown here")
    found = _some(values, UNetConfig)
    if blocks:
        found["attention_levels"] = [_DOWN_BLOCKS[block] for block in blocks]
    found["num_attention_heads"] = values.get("attention_head_dim", 8)  # so SD 1.x means it
    found.pop("group_norm_scope", None)
    return _build(UNetConfig, found, where)


def controlnet(values: Values, where: str) -> tuple[UNetConfig, tuple[int, ...]]:
    """From diffusers' `ControlNetModel`: its UNet, and the widths of its hint encoder."""
    _check(values, _CONTROLNET_FIXED, where)
    widths = values.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    return unet(values, where), tuple(widths)


def autoencoder(values: Values, where: str) -> AutoencoderConfig:
    """From diffusers' `AutoencoderKL`."""
    _check(values, _VAE_FIXED, where)
    if values.get("shift_factor") is not None:
        raise ConvertError(f"{where}: shift_factor: the VAE of a later model than SD 1.x")
    if values.get("scaling_factor") == 0.13025:
        raise ConvertError(f"{where}: scaling_factor 0.13025: the VAE of SDXL; SD 1.x's is needed")
    return _build(AutoencoderConfig, _some(values, AutoencoderConfig), where)


def image_encoder(values: Values, where: str) -> ImageEncoderConfig:
    """From transformers' `CLIPVisionModelWithProjection`, or the vision part of `CLIPModel`."""
    tower = {**values, **values.get("vision_config", {})}
    if "vision_config" in values and "projection_dim" in values:
        tower["projection_dim"] = values["projection_dim"]
    _check(tower, _CLIP_FIXED, where)
    # What a CLIP config leaves out has the defaults of ViT-B/32, the first CLIP, not of ours.
    base = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "projection_dim": 512,
    }
    return _build(ImageEncoderConfig, base | _some(tower, ImageEncoderConfig), where)


def motion_adapter(values: Values, where: str) -> MotionModuleConfig:
    """From diffusers' `MotionAdapter`."""
    _check(values, _ADAPTER_FIXED, where)
    names = {
        "motion_num_attention_heads": "num_attention_heads",
        "motion_max_seq_length": "max_positions",
        "use_motion_mid_block": "mid_block",
        "motion_norm_num_groups": "norm_num_groups",
    }
    found = {ours: values[name] for name, ours in names.items() if name in values}
    return _build(MotionModuleConfig, found, where)


def noise_schedule(values: Values, where: str) -> NoiseScheduleConfig:
    """The betas and the prediction type of a diffusers scheduler; the sampler's rest is ours."""
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    found = {name: values[name] for name in names if name in values}
    return _build(NoiseScheduleConfig, found, where)


def _some(values: Values, cls: type) -> dict[str, Any]:
    """The values that have our names."""
    return {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}


def _build(cls: type[T], values: Values, where: str) -> T:
    try:
        return from_dict(cls, values)
    except ConfigError as error:
        raise ConvertError(f"{where}: {error}") from None


def _check(values: Values, fixed: Mapping[str, tuple], where: str) -> None:
    for name, allowed in fixed.items():
        if name in values and values[name] not in allowed:
            raise ConvertError(f"{where}: {name} {values[name]!r} is unknown here, not SD 1.x's")
