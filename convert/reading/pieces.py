"""The pieces of Stable Diffusion and CLIP, found in whatever folder or file holds them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aa_jax.config import ModelConfig
from convert import ConvertError
from convert.reading import architectures, families, ldm
from convert.reading.sources import open_source
from convert.reading.tensors import Source, Tensor


@dataclasses.dataclass(frozen=True)
class Piece:
    """Tensors of one network under diffusers' or transformers' names.

    Attributes:
      source: where they come from.
      tensors: by name, unread.
      ignored: the source's other tensors with the reason.
      section: the network's part of `ModelConfig`.
    """

    source: Source
    tensors: Mapping[str, Tensor]
    ignored: Mapping[str, str]
    section: Any


_SINGLE_FILE_REST = (
    (r"cond_stage_model\..*", "the text encoder; Animate Anyone reads no text"),
    (r"model_ema\..*", "averaged copy of the UNet; --ema takes it instead"),
    (r"(sqrt_|log_one_minus_|posterior_)\w+", "a table of the noise schedule"),
    (r"betas|alphas_cumprod(_prev)?|lvlb_weights|logvar|scale_factor", "the noise schedule"),
    (r"(first_stage_model\.)?loss\..*", "the VAE's training loss"),
    (r"(first_stage_model\.)?model_ema\..*", "averaged copy of the VAE"),
)


def subfolder(path: Path, name: str) -> Path:
    """The folder of one piece inside a pipeline's folder, or the path itself."""
    return path / name if (path / name).is_dir() else path


def open_unet(where: Path | Source, model: ModelConfig, *, ema: bool = False) -> Piece:
    """SD 1.x's UNet from a diffusers folder or file, or a single-file checkpoint.

    Args:
      where: the file, the UNet's folder, or that of the whole pipeline; or an opened file.
      model: the architecture where no `config.json` tells it.
      ema: take the averaged weights of a single-file checkpoint.

    Raises:
      ConvertError: it is anything else.
    """
    source = _open(where, "unet")
    names = ("sd1-ldm", "sd1-unet")
    family = families.require(source, source.path, names, "a UNet of Stable Diffusion 1.x")
    if family.name == "sd1-unet":
        if ema:
            raise ConvertError(f"{source.path}: --ema is for single-file checkpoints")
        section = architectures.unet(source.config, f"{source.path}/config.json")
        return Piece(source, source, {}, section if source.config else model.unet)
    tensors = ldm.part(source, ldm.UNET)
    rest = (*_SINGLE_FILE_REST, (r"first_stage_model\..*", "belongs to vae"))
    if ema:
        plain, tensors = tensors, ldm.ema(source)
        if tensors.keys() != plain.keys():
            found = "some" if tensors else "no"
            raise ConvertError(f"{source.path}: has {found} averaged weights; leave --ema out")
        rest = ((r"model_ema\..*", "counters of the average"), *rest)
        rest = ((r"model\.diffusion_model\..*", "--ema takes the averaged copy"), *rest)
        used = {ldm.EMA + key.removeprefix("model.").replace(".", "") for key in _prefixed(tensors)}
    else:
        used = _prefixed(tensors)
    ignored = _ignored(source, used, rest)
    layers = model.unet.layers_per_block
    return Piece(source, ldm.unet(tensors, layers_per_block=layers), ignored, model.unet)


def _prefixed(tensors: Mapping[str, Tensor]) -> set[str]:
    return {ldm.UNET + key for key in tensors}


def open_vae(where: Path | Source, model: ModelConfig) -> Piece:
    """SD 1.x's VAE from a diffusers folder, a latent-diffusion VAE or a single-file checkpoint.

    Raises:
      ConvertError: it is anything else, or holds no VAE.
    """
    source = _open(where, "vae")
    families.require(source, source.path, ("vae", "sd1-ldm"), "a VAE of Stable Diffusion 1.x")
    inner = ldm.part(source, ldm.VAE)
    prefix = ldm.VAE if inner else ""
    tensors = inner or {key: source[key] for key in source if not key.startswith(ldm.UNET)}
    wanted = r"(encoder|decoder|quant_conv|post_quant_conv)\..*"
    tensors = {key: value for key, value in tensors.items() if re.fullmatch(wanted, key)}
    if not tensors:
        raise ConvertError(f"{source.path}: holds no VAE; name one with --vae")
    rest = (*_SINGLE_FILE_REST, (r"model\.diffusion_model\..*", "belongs to the UNets"))
    ignored = _ignored(source, {prefix + key for key in tensors}, rest)
    section = model.autoencoder
    if source.config:
        section = architectures.autoencoder(source.config, f"{source.path}/config.json")
    if any(key.startswith("encoder.down.") for key in tensors):
        tensors = ldm.vae(tensors, levels=len(section.block_out_channels))
    return Piece(source, tensors, ignored, section)


def open_image_encoder(path: Path, model: ModelConfig) -> Piece:
    """CLIP's vision tower with projection from a transformers folder or file.

    Raises:
      ConvertError: it is anything else.
    """
    source = open_source(subfolder(path, "image_encoder"))
    families.require(source, source.path, ("clip",), "CLIP's image encoder with projection")
    section = model.image_encoder
    if source.config:
        section = architectures.image_encoder(source.config, f"{source.path}/config.json")
    return Piece(source, source, {}, section)


def has_vae(where: Path | Source) -> bool:
    """Whether a pipeline's folder or an opened single-file checkpoint brings a VAE along."""
    if isinstance(where, Source):
        return any(key.startswith(ldm.VAE) for key in where)
    return (where / "vae").is_dir()


def _open(where: Path | Source, name: str) -> Source:
    return where if isinstance(where, Source) else open_source(subfolder(where, name))


def _ignored(source: Source, used: set[str], rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Reasons for all tensors that are not used; those without one are an error."""
    ignored: dict[str, str] = {}
    unexpected = []
    for key in source.keys() - used:
        reason = next((reason for rule, reason in rules if re.fullmatch(rule, key)), None)
        if reason:
            ignored[key] = reason
        else:
            unexpected.append(key)
    if unexpected:
        from aa_jax import weights

        raise ConvertError(f"{source.path}: unexpected {weights.some(sorted(unexpected))}")
    return ignored
