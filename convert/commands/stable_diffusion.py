"""`stable-diffusion`: both UNets and the VAE from Stable Diffusion 1.x."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from convert import ConvertError
from convert.commands import options
from convert.reading import architectures, families, pieces, presets
from convert.reading.sources import open_source
from convert.writing import assembly

DESCRIPTION = """\
Makes both UNets and the VAE from Stable Diffusion 1.x, as the paper starts: ReferenceNet and
denoising UNet get the same weights (the ReferenceNet has no output layers).

FILE is a diffusers folder (whole pipeline, or unet/, or vae/ alone), or a single-file checkpoint
(.safetensors, .ckpt). A VAE alone, such as sd-vae-ft-mse, is converted alone.
"""
EXAMPLES = """\
examples:
  python -m convert stable-diffusion stable-diffusion-v1-5 --output weights
  python -m convert stable-diffusion v1-5-pruned.ckpt --ema --vae sd-vae-ft-mse --output weights
  python -m convert stable-diffusion sd-image-variations-diffusers --output weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="folder or checkpoint")
    parser.add_argument(
        "--vae", type=Path, metavar="FILE", help="another VAE (sd-vae-ft-mse); default: FILE's own"
    )
    parser.add_argument(
        "--ema", action="store_true", help="take a single file's averaged UNet (model_ema.*)"
    )
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    model = options.architecture(flags, presets.STABLE_DIFFUSION_1_5)
    whole = any((flags.source / name).is_dir() for name in ("unet", "vae"))
    where = flags.source if whole else open_source(flags.source)
    vae_from, unet = flags.vae, None
    if not whole and families.recognise(where).name == "vae":
        if flags.vae:
            raise ConvertError(f"{flags.source}: is a VAE itself; leave --vae out")
        vae_from = where
    else:
        unet = pieces.open_unet(where, model, ema=flags.ema)
        if vae_from is None and pieces.has_vae(where):
            vae_from = where
    vae = pieces.open_vae(vae_from, model) if vae_from else None
    networks = [*(["vae"] if vae else []), *(["reference_unet", "denoising_unet"] if unet else [])]
    assembly.check_output(flags.output, networks, overwrite=flags.overwrite)
    config = options.starting_config(flags.output)
    sections = {"autoencoder": vae.section} if vae else {}
    sections |= {"unet": unet.section} if unet else {}
    config = dataclasses.replace(
        config,
        model=assembly.model_with(
            config.model, options.remaining(flags.output, networks), **sections
        ),
        schedule=_schedule(flags.source) or config.schedule,
    )
    parts = []
    for name in networks:
        piece = vae if name == "vae" else unet
        parts.append(
            assembly.plan(name, config.model, piece.source, piece.tensors, ignored=piece.ignored)
        )
    del where, vae_from, unet, vae, piece  # only `parts` keeps files open
    assembly.add(
        flags.output,
        parts,
        config,
        command="stable-diffusion",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0


def _schedule(path: Path):
    """The noise schedule of a pipeline's folder, if it has one."""
    file = path / "scheduler" / "scheduler_config.json"
    if not file.exists():
        return None
    try:
        return architectures.noise_schedule(json.loads(file.read_text()), str(file))
    except (OSError, json.JSONDecodeError) as error:
        raise ConvertError(f"{file}: cannot be read: {error}") from None
