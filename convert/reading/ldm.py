"""Single-file checkpoints of latent-diffusion to the names of diffusers.

The numbering of CompVis/latent-diffusion's UNet counts layers through all levels; that of diffusers
starts anew in every block. Only names change: both lay out their tensors alike, except that the
VAE's attention projections are 1x1 convolutions here, which `convert.transfer` accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from convert.reading.spelling import Rules, renamed

T = TypeVar("T")

UNET = "model.diffusion_model."
EMA = "model_ema."
VAE = "first_stage_model."
CONTROL = "control_model."

_RESNET: Rules = (
    (r"in_layers\.0\.(\w+)", r"norm1.\1"),
    (r"in_layers\.2\.(\w+)", r"conv1.\1"),
    (r"emb_layers\.1\.(\w+)", r"time_emb_proj.\1"),
    (r"out_layers\.0\.(\w+)", r"norm2.\1"),
    (r"out_layers\.3\.(\w+)", r"conv2.\1"),
    (r"skip_connection\.(\w+)", r"conv_shortcut.\1"),
)

_UNET_ENDS: Rules = (
    (r"time_embed\.0\.(\w+)", r"time_embedding.linear_1.\1"),
    (r"time_embed\.2\.(\w+)", r"time_embedding.linear_2.\1"),
    (r"input_blocks\.0\.0\.(\w+)", r"conv_in.\1"),
    (r"out\.0\.(\w+)", r"conv_norm_out.\1"),
    (r"out\.2\.(\w+)", r"conv_out.\1"),
)

_VAE: Rules = (
    (r"(encoder|decoder)\.mid\.block_1\.(.*)", r"\1.mid_block.resnets.0.\2"),
    (r"(encoder|decoder)\.mid\.block_2\.(.*)", r"\1.mid_block.resnets.1.\2"),
    (r"(encoder|decoder)\.mid\.attn_1\.norm\.(\w+)", r"\1.mid_block.attentions.0.group_norm.\2"),
    (r"(encoder|decoder)\.mid\.attn_1\.([qkv])\.(\w+)", r"\1.mid_block.attentions.0.to_\2.\3"),
    (r"(encoder|decoder)\.mid\.attn_1\.proj_out\.(\w+)", r"\1.mid_block.attentions.0.to_out.0.\2"),
    (r"(encoder|decoder)\.norm_out\.(\w+)", r"\1.conv_norm_out.\2"),
    (r"encoder\.down\.(\d+)\.block\.(\d+)\.(.*)", r"encoder.down_blocks.\1.resnets.\2.\3"),
    (r"encoder\.down\.(\d+)\.downsample\.(.*)", r"encoder.down_blocks.\1.downsamplers.0.\2"),
    (r"decoder\.up\.(\d+)\.block\.(\d+)\.(.*)", r"decoder.up_blocks.\1.resnets.\2.\3"),
    (r"decoder\.up\.(\d+)\.upsample\.(.*)", r"decoder.up_blocks.\1.upsamplers.0.\2"),
)

# The layers between ControlNet's hint convolutions are SiLUs, which have no weights.
HINT = {0: "conv_in", **{2 * i: f"blocks.{i - 1}" for i in range(1, 7)}, 14: "conv_out"}
"""Modules of our `controlnet` Pose Guider by index in `control_model.input_hint_block`."""


def unet(tensors: Mapping[str, T], *, layers_per_block: int = 2) -> dict[str, T]:
    """The UNet under diffusers' names; names without a rule stay as they are."""
    return {_unet_key(key, layers_per_block): value for key, value in tensors.items()}


def control_net(tensors: Mapping[str, T], *, layers_per_block: int = 2) -> dict[str, T]:
    """A whole ControlNet under diffusers' names; those that have them already stay."""

    def rename(key: str) -> str:
        if not key.startswith(CONTROL):
            return key
        key = key.removeprefix(CONTROL)
        if match := re.fullmatch(r"input_hint_block\.(\d+)\.(\w+)", key):
            return f"controlnet_cond_embedding.{HINT.get(int(match[1]), match[1])}.{match[2]}"
        if match := re.fullmatch(r"zero_convs\.(\d+)\.0\.(\w+)", key):
            return f"controlnet_down_blocks.{match[1]}.{match[2]}"
        if match := re.fullmatch(r"middle_block_out\.0\.(\w+)", key):
            return f"controlnet_mid_block.{match[1]}"
        return _unet_key(key, layers_per_block)

    return {rename(key): value for key, value in tensors.items()}


def _unet_key(key: str, layers: int) -> str:
    if match := re.fullmatch(r"input_blocks\.([1-9]\d*)\.(\d)\.(.*)", key):
        block, layer = divmod(int(match[1]) - 1, layers + 1)
        place = f"down_blocks.{block}"
        if match[3].startswith("op."):
            return f"{place}.downsamplers.0.conv.{match[3].removeprefix('op.')}"
        return _layer(place, layer, match[2] == "0", match[3])
    if match := re.fullmatch(r"middle_block\.([012])\.(.*)", key):
        return _layer("mid_block", int(match[1]) // 2, match[1] != "1", match[2])
    if match := re.fullmatch(r"output_blocks\.(\d+)\.(\d)\.(.*)", key):
        block, layer = divmod(int(match[1]), layers + 1)
        place = f"up_blocks.{block}"
        if match[3].startswith("conv."):
            return f"{place}.upsamplers.0.{match[3]}"
        return _layer(place, layer, match[2] == "0", match[3])
    return renamed(_UNET_ENDS, key)


def _layer(place: str, layer: int, resnet: bool, rest: str) -> str:
    if resnet:
        return f"{place}.resnets.{layer}.{renamed(_RESNET, rest)}"
    return f"{place}.attentions.{layer}.{rest}"


def vae(tensors: Mapping[str, T], *, levels: int = 4) -> dict[str, T]:
    """The VAE under diffusers' names; names without a rule stay as they are."""

    def rename(key: str) -> str:
        key = renamed(_VAE, key).replace(".nin_shortcut.", ".conv_shortcut.")
        # latent-diffusion numbers the decoder's levels by resolution, diffusers in order of use.
        return re.sub(
            r"^decoder\.up_blocks\.(\d+)", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}",
            key,
        )  # fmt: skip

    return {rename(key): value for key, value in tensors.items()}


def ema(tensors: Mapping[str, T]) -> dict[str, T]:
    """The averaged UNet, whose names have lost their dots, under those of the plain one."""
    averaged = {
        key: tensors[name]
        for key in tensors
        if key.startswith(UNET)
        and (name := EMA + key.removeprefix("model.").replace(".", "")) in tensors
    }
    return {key.removeprefix(UNET): value for key, value in averaged.items()}


def part(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """What lies under a prefix, without it."""
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
