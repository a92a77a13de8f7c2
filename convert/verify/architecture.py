"""Our model for the configuration values of a case, and its parameters from the case's weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    UNetConfig,
)
from convert.verify.cases import Case, CaseError
from convert.writing import transfer

StateDict = Mapping[str, np.ndarray]

# What our networks are; a case that says otherwise asks for other networks.
_UNET = {
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "use_linear_projection": False,
    "center_input_sample": False,
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "upcast_attention": False,
    "resnet_time_scale_shift": "default",
}
_TEMPORAL = {
    "unet_use_cross_frame_attention": False,
    "unet_use_temporal_attention": False,
    "motion_module_decoder_only": False,
    "motion_module_type": "Vanilla",
}
_MOTION = {"temporal_position_encoding": True, "temporal_attention_dim_div": 1}
_VAE = {"in_channels": 3, "out_channels": 3, "act_fn": "silu"}
_CLIP = {"num_channels": 3, "layer_norm_eps": 1e-5, "attention_dropout": 0.0}


def _require(where: str, values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if values.get(name, value) != value:
            raise CaseError(f"{where}.{name}={values[name]}: only {value} is supported")


def unet_config(meta: Mapping[str, Any], state: StateDict) -> UNetConfig:
    """The UNets' configuration; which levels attend follows from their keys."""
    values = meta["unet_config"]
    _require("unet_config", values, _UNET)
    widths = tuple(values["block_out_channels"])
    levels = tuple(
        any(key.startswith(f"down_blocks.{i}.attentions.") for key in state)
        for i in range(len(widths))
    )
    return UNetConfig(
        in_channels=values["in_channels"],
        out_channels=values["out_channels"],
        block_out_channels=widths,
        layers_per_block=values["layers_per_block"],
        attention_levels=levels,
        num_attention_heads=values["attention_head_dim"],  # which is what it means
        cross_attention_dim=values["cross_attention_dim"],
        norm_num_groups=values["norm_num_groups"],
    )


def temporal(options: Mapping[str, Any], model: ModelConfig) -> ModelConfig:
    """The model with motion modules and GroupNorm scope as `unet_additional_kwargs` say."""
    _require("unet_additional_kwargs", options, _TEMPORAL)
    motion = MotionModuleConfig(enabled=False)
    if options.get("use_motion_module"):
        levels = [2**i for i in range(len(model.unet.block_out_channels))]
        _require("unet_additional_kwargs", options, {"motion_module_resolutions": levels})
        values = options["motion_module_kwargs"]
        _require("motion_module_kwargs", values, _MOTION)
        kinds = values["attention_block_types"]
        if set(kinds) != {"Temporal_Self"}:
            raise CaseError(f"motion_module_kwargs.attention_block_types={kinds}: unknown kind")
        motion = MotionModuleConfig(
            num_attention_heads=values["num_attention_heads"],
            num_transformer_blocks=values["num_transformer_block"],
            num_attention_layers=len(kinds),
            max_positions=values["temporal_position_encoding_max_len"],
            mid_block=options.get("motion_module_mid_block", False),
        )
    scope = "per_frame" if options.get("use_inflated_groupnorm") else "over_frames"
    unet = dataclasses.replace(model.unet, group_norm_scope=scope)
    return dataclasses.replace(model, unet=unet, motion_module=motion)


def pose_guider_config(state: StateDict) -> PoseGuiderConfig:
    """The hint encoder's widths, from its convolutions."""
    kernels = {
        int(match[1]): x.shape[0]
        for key, x in state.items()
        if (match := re.fullmatch(r"blocks\.(\d+)\.weight", key))
    }
    widths = [state["conv_in.weight"].shape[0], *(kernels[i] for i in sorted(kernels) if i % 2)]
    return PoseGuiderConfig(kind="controlnet", block_out_channels=tuple(widths))


def autoencoder_config(values: Mapping[str, Any]) -> AutoencoderConfig:
    """The VAE of diffusers' config values."""
    _require("vae_config", values, _VAE)
    return AutoencoderConfig(
        latent_channels=values["latent_channels"],
        block_out_channels=tuple(values["block_out_channels"]),
        layers_per_block=values["layers_per_block"],
        norm_num_groups=values["norm_num_groups"],
        scaling_factor=values["scaling_factor"],
    )


def image_encoder_config(values: Mapping[str, Any]) -> ImageEncoderConfig:
    """The vision tower of transformers' config values."""
    _require("clip_config", values, _CLIP)
    names = [field.name for field in dataclasses.fields(ImageEncoderConfig)]
    return ImageEncoderConfig(**{name: values[name] for name in names})


def model_of(
    meta: Mapping[str, Any],
    states: Mapping[str, StateDict],
    autoencoder: AutoencoderConfig | None = None,
    image_encoder: ImageEncoderConfig | None = None,
) -> ModelConfig:
    """The model of a case of UNets.

    Args:
      meta: the case's `meta.json`.
      states: state dicts of the UNets and, if there is one, the Pose Guider.
      autoencoder: if the case has none, latents are as much smaller than skeletons as the Pose
        Guider makes them.
      image_encoder: if the case has none, embeddings are as wide as the UNets want them.
    """
    unet = unet_config(meta, states["denoising_unet"])
    guider = PoseGuiderConfig()
    if "pose_guider" in states:
        guider = pose_guider_config(states["pose_guider"])
    widths = (32,) * len(guider.block_out_channels)
    model = ModelConfig(
        unet=unet,
        pose_guider=guider,
        autoencoder=autoencoder
        or AutoencoderConfig(latent_channels=unet.in_channels, block_out_channels=widths),
        image_encoder=image_encoder or ImageEncoderConfig(projection_dim=unet.cross_attention_dim),
    )
    options = meta.get("denoising_unet", meta)["unet_additional_kwargs"]
    return temporal(options, model)


def params_of(case: Case, model: ModelConfig, states: Mapping[str, StateDict]) -> dict[str, Any]:
    """Parameter trees by network name, through the converters; prints what became of each file."""
    params = {}
    for name, state in states.items():
        params[name], report = transfer.network(name, model, state)
        case.ledger.heading(f"  {report}".replace("\n", "\n  "))
    return params


def states_of(case: Case) -> dict[str, StateDict]:
    """State dicts of all weights of a case, by name."""
    return {name: case.weights(name) for name in case.field("weights")}


def with_first_width(model: ModelConfig, features: int, factor: int) -> ModelConfig:
    """A model whose Pose Guider ends in so many features and shrinks pictures by a factor."""
    unet = dataclasses.replace(
        model.unet,
        block_out_channels=(features,),
        attention_levels=(True,),
        num_attention_heads=1,
        norm_num_groups=1,
    )
    levels = (32,) * (factor.bit_length())
    autoencoder = dataclasses.replace(model.autoencoder, block_out_channels=levels)
    return dataclasses.replace(model, unet=unet, autoencoder=autoencoder)
