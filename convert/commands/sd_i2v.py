"""`sd-i2v`: the baseline of Stable Diffusion, ControlNet, IP-Adapter and AnimateDiff."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from aa_jax import weights
from aa_jax.config import ModelConfig, UNetConfig
from convert import ConvertError
from convert.commands import options
from convert.reading import architectures, families, ip_adapter, ldm, motion, pieces, presets
from convert.reading import prompt as prompt_lib
from convert.reading.pieces import Piece
from convert.reading.sources import open_source
from convert.writing import assembly

DESCRIPTION = """\
Makes the weights directory of the baseline SD-I2V (configs/baselines/sd_i2v.py), ready to sample
from, or adds parts to one: Stable Diffusion 1.x with a ControlNet fed the skeleton pictures, an
IP-Adapter fed the reference (ip-adapter_sd15 or ip-adapter-plus_sd15) and AnimateDiff's modules.

The model reads no text. Stable Diffusion's text encoder is run once, on an empty prompt, and what
it gives is kept as the network `prompt`; --prompt takes another encoder, or an encoded prompt.
"""
EXAMPLES = """\
examples:
  python -m convert sd-i2v --stable-diffusion sd15 --controlnet control_v11p_sd15_openpose \\
    --ip-adapter ip-adapter_sd15.safetensors --image-encoder IP-Adapter/models/image_encoder \\
    --motion-module mm_sd_v15_v2.ckpt --output weights
  another adapter, which needs the same image encoder
    python -m convert sd-i2v --ip-adapter ip-adapter-plus_sd15.bin --output weights --overwrite
"""

PARTS = {
    "stable_diffusion": ("SD 1.x: diffusers folder or single file", ("denoising_unet",)),
    "vae": ("another VAE (sd-vae-ft-mse); default: Stable Diffusion's own", ("vae",)),
    "controlnet": ("ControlNet of SD 1.x for OpenPose: folder or file", ("pose_controlnet",)),
    "ip_adapter": (
        "ip-adapter_sd15 or ip-adapter-plus_sd15, .safetensors or .bin",
        ("ip_adapter",),
    ),
    "image_encoder": ("CLIP ViT-H/14 as transformers saves it: folder or file", ("image_encoder",)),
    "motion_module": ("AnimateDiff v1, v2 or v3: file or MotionAdapter folder", ("motion_module",)),
    "prompt": ("CLIP's text encoder, or prompt.safetensors of an export", ("prompt",)),
}
"""Help of every part's flag, and the networks it brings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    for name, (text, _) in PARTS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    sources = {name: getattr(flags, name) for name in PARTS if getattr(flags, name)}
    if not sources:
        raise ConvertError(f"give at least one of {', '.join(f'--{name}' for name in PARTS)}")
    existing = options.existing_config(flags.output)
    if existing and existing.model.reference.kind != "ip_adapter":
        raise ConvertError(
            f"{flags.output}: is no SD-I2V (model.reference.kind={existing.model.reference.kind}); "
            "choose another --output"
        )
    _complete(sources, weights.networks(flags.output) if existing else ())
    names = [network for part in sources for network in PARTS[part][1]]
    assembly.check_output(flags.output, names, overwrite=flags.overwrite)
    base = options.architecture(flags, presets.SD_I2V)
    found = _open(sources, base)
    rest = options.remaining(flags.output, names)
    config = _config(flags.output, base, found, rest)
    parts = [
        assembly.plan(name, config.model, piece.source, piece.tensors, ignored=piece.ignored)
        for name, piece in found.items()
    ]
    found.clear()  # only `parts` keeps files open
    assembly.add(
        flags.output,
        parts,
        config,
        command="sd-i2v",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    if absent := [n for n in config.model.networks if n not in (*names, *rest)]:
        print(f"  still without {', '.join(absent)}")
    return 0


def _complete(sources: dict[str, Any], present: tuple[str, ...]) -> None:
    """Takes VAE and prompt from Stable Diffusion's file or folder, where it has them."""
    path = sources.get("stable_diffusion")
    if path is None:
        return
    whole = any((path / name).is_dir() for name in ("unet", "vae"))
    if "vae" not in sources and pieces.has_vae(path if whole else open_source(path)):
        sources["vae"] = path
    if "prompt" not in sources:
        if where := prompt_lib.find(path):
            sources["prompt"] = where
        elif "prompt" not in present:
            raise ConvertError(f"{path}: has no text encoder; name one with --prompt")


def _open(sources: dict[str, Any], base: ModelConfig) -> dict[str, Piece]:
    """Every part under its network's name, with its section of the config.

    Raises:
      ConvertError: a file is another part's, or parts do not fit together.
    """
    found: dict[str, Piece] = {}
    if path := sources.get("stable_diffusion"):
        found["denoising_unet"] = pieces.open_unet(path, base)
    if path := sources.get("vae"):
        found["vae"] = pieces.open_vae(path, base)
    unet = found["denoising_unet"].section if "denoising_unet" in found else base.unet
    if path := sources.get("controlnet"):
        found["pose_controlnet"] = _open_controlnet(path, base, unet)
    if path := sources.get("image_encoder"):
        found["image_encoder"] = pieces.open_image_encoder(path, base)
    if path := sources.get("ip_adapter"):
        source = open_source(path)
        families.require(source, path, ("ip-adapter",), "an IP-Adapter of SD 1.x")
        section = ip_adapter.section(source, base.ip_adapter)
        found["ip_adapter"] = Piece(source, ip_adapter.canonical(source, unet), {}, section)
    if path := sources.get("motion_module"):
        source = open_source(path)
        families.require(source, path, ("motion-module", "unet-3d"), "AnimateDiff")
        found["motion_module"] = Piece(
            source, source, {}, motion.architecture(source, base.motion_module)
        )
    if path := sources.get("prompt"):
        found["prompt"] = prompt_lib.open_prompt(path)
    return found


def _open_controlnet(path: Path, base: ModelConfig, unet: UNetConfig) -> Piece:
    source = open_source(path)
    families.require(source, path, ("controlnet",), "a ControlNet of SD 1.x")
    guider = base.pose_guider
    if source.config:
        own, widths = architectures.controlnet(source.config, f"{path}/config.json")
        # What only the way up and a denoising UNet's end know is no part of a ControlNet.
        ends = {name: getattr(unet, name) for name in ("out_channels", "group_norm_scope")}
        own = dataclasses.replace(own, **ends)
        for field in dataclasses.fields(own):
            here, there = getattr(own, field.name), getattr(unet, field.name)
            if here != there:
                raise ConvertError(
                    f"{path}: {field.name} {here} where the UNet has {there}; a ControlNet of "
                    "Stable Diffusion 1.x is wanted"
                )
        guider = dataclasses.replace(guider, block_out_channels=widths)
    tensors = ldm.control_net(source, layers_per_block=unet.layers_per_block)
    return Piece(source, tensors, {}, guider)


def _config(
    output: Path, base: ModelConfig, found: dict[str, Piece], rest: list[str]
) -> weights.WeightsConfig:
    """The directory's config with the sections of the parts found."""
    config = options.existing_config(output)
    if config is None:
        still = dataclasses.replace(base.motion_module, enabled=False)
        config = weights.WeightsConfig(
            model=dataclasses.replace(
                base,
                reference=presets.SD_I2V.reference,
                pose_guider=dataclasses.replace(base.pose_guider, kind="whole_controlnet"),
                motion_module=still,
            ),
            schedule=presets.STABLE_DIFFUSION_SCHEDULE,
            skeleton=presets.SD_I2V_SKELETON,
            sampling=presets.SD_I2V_SAMPLING,
        )
    places = {
        "denoising_unet": "unet",
        "pose_controlnet": "pose_guider",
        "vae": "autoencoder",
    }
    sections = {places.get(name, name): piece.section for name, piece in found.items()}
    sections = {name: section for name, section in sections.items() if section is not None}
    if "pose_guider" in sections:
        guider = dataclasses.replace(sections["pose_guider"], kind="whole_controlnet")
        sections["pose_guider"] = guider
    if "motion_module" in found:
        scope = motion.group_norm_scope(sections["motion_module"])
        unet = sections.get("unet", config.model.unet)
        sections["unet"] = dataclasses.replace(unet, group_norm_scope=scope)
        config = dataclasses.replace(config, schedule=presets.ANIMATEDIFF_SCHEDULE)
    elif "unet" in sections:
        scope = config.model.unet.group_norm_scope
        sections["unet"] = dataclasses.replace(sections["unet"], group_norm_scope=scope)
    if "ip_adapter" in found or "image_encoder" in found:
        sections["image_encoder"] = _encoder_section(config.model, found, rest)
    model = assembly.model_with(config.model, rest, **sections)
    return dataclasses.replace(config, model=model)


def _encoder_section(model: ModelConfig, found: dict[str, Piece], rest: list[str]) -> Any:
    """The image encoder's, which an IP-Adapter must have been trained with."""
    section = model.image_encoder
    if "image_encoder" in found:
        section = found["image_encoder"].section
    if "ip_adapter" not in found:
        return section
    adapter = found["ip_adapter"].source
    field, wanted = ip_adapter.encoder_field(adapter)
    if getattr(section, field) != wanted and ("image_encoder" in found or "image_encoder" in rest):
        raise ConvertError(
            f"{adapter.path}: was made for an image encoder whose {field} is {wanted}, not "
            f"{getattr(section, field)}; IP-Adapter's models/image_encoder is wanted"
        )
    return dataclasses.replace(section, **{field: wanted})
