"""IP-Adapter's files: names and architecture.

A file holds `image_proj.*`, the image projection, and `ip_adapter.N.to_{k,v}_ip.weight`, keys and
values of the UNet's N-th attention. It counts attentions as diffusers' `attn_processors` lists
them: self- and cross-attention of every transformer block on the way down, on the way up, and last
in the mid block.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TypeVar

from aa_jax.config import IPAdapterConfig, UNetConfig
from aa_jax.models.image_resnet import transformer_levels
from convert import ConvertError
from convert.reading.spelling import Rules, renamed
from convert.reading.tensors import Tensor

T = TypeVar("T")

# Layers of the resampler: a list of attention, and a sequence of norm, linear, GELU, linear.
_TO_OURS: Rules = (
    (r"image_proj\.layers\.(\d+)\.0\.(\w+)\.(\w+)", r"image_proj.blocks.\1.\2.\3"),
    (r"image_proj\.layers\.(\d+)\.1\.0\.(\w+)", r"image_proj.blocks.\1.ff_norm.\2"),
    (r"image_proj\.layers\.(\d+)\.1\.1\.(\w+)", r"image_proj.blocks.\1.ff_in.\2"),
    (r"image_proj\.layers\.(\d+)\.1\.3\.(\w+)", r"image_proj.blocks.\1.ff_out.\2"),
)
_TO_THEIRS: Rules = (
    (r"image_proj\.blocks\.(\d+)\.ff_norm\.(\w+)", r"image_proj.layers.\1.1.0.\2"),
    (r"image_proj\.blocks\.(\d+)\.ff_in\.(\w+)", r"image_proj.layers.\1.1.1.\2"),
    (r"image_proj\.blocks\.(\d+)\.ff_out\.(\w+)", r"image_proj.layers.\1.1.3.\2"),
    (r"image_proj\.blocks\.(\d+)\.(\w+)\.(\w+)", r"image_proj.layers.\1.0.\2.\3"),
)


def canonical(tensors: Mapping[str, T], unet: UNetConfig) -> dict[str, T]:
    """The tensors under the names that `aa_jax.models.torch_names` gives."""
    places = dict(enumerate(_places(unet)))

    def rename(key: str) -> str:
        match = re.fullmatch(r"ip_adapter\.(\d+)\.(\w+\.\w+)", key)
        if match and int(match[1]) % 2 and int(match[1]) // 2 in places:
            return f"{places[int(match[1]) // 2]}.{match[2]}"
        return renamed(_TO_OURS, key)

    return {rename(key): tensor for key, tensor in tensors.items()}


def public(tensors: Mapping[str, T], unet: UNetConfig) -> dict[str, T]:
    """The tensors under IP-Adapter's names; undoes `canonical`."""
    numbers = {place: 2 * i + 1 for i, place in enumerate(_places(unet))}

    def rename(key: str) -> str:
        place, _, rest = key.rpartition(".to_")
        if place in numbers:
            return f"ip_adapter.{numbers[place]}.to_{rest}"
        return renamed(_TO_THEIRS, key)

    return {rename(key): tensor for key, tensor in tensors.items()}


def _places(unet: UNetConfig) -> list[str]:
    """Every cross-attention of a UNet, in the order in which diffusers lists them."""

    def order(path: str) -> tuple[int, list[int]]:
        side = ("down", "up", "mid").index(path.partition("_")[0])
        return side, [int(number) for number in re.findall(r"_(\d+)", path)]

    paths = sorted(transformer_levels(unet), key=order)
    return [re.sub(r"_(\d+)\b", r".\1", path).replace("/", ".") + ".attn2" for path in paths]


def section(tensors: Mapping[str, Tensor], base: IPAdapterConfig) -> IPAdapterConfig:
    """The architecture, from shapes; what none tells, scale and size of heads, from `base`.

    Raises:
      ConvertError: the shapes contradict each other.
    """
    shapes = {
        key.removeprefix("image_proj."): tensor.shape
        for key, tensor in tensors.items()
        if key.startswith("image_proj.")
    }
    try:
        if "latents" not in shapes:
            tokens = shapes["proj.weight"][0] // shapes["norm.weight"][0]
            return dataclasses.replace(base, projection="linear", tokens=tokens)
        layers = {key.split(".")[1] for key in shapes if key.startswith("layers.")}
        _, tokens, width = shapes["latents"]
        heads = shapes["layers.0.0.to_q.weight"][0] // base.resampler_head_dim
    except (KeyError, IndexError, ValueError) as error:
        raise ConvertError(f"ip_adapter: its image projection is incomplete ({error})") from None
    return dataclasses.replace(
        base,
        projection="resampler",
        tokens=tokens,
        resampler_width=width,
        resampler_layers=len(layers),
        resampler_heads=heads,
    )


def encoder_field(tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """The field of `ImageEncoderConfig` that an adapter fixes, and its value."""
    if "image_proj.latents" in tensors:
        return "hidden_size", tensors["image_proj.proj_in.weight"].shape[1]
    return "projection_dim", tensors["image_proj.proj.weight"].shape[1]
