"""`animate-anyone`: the four files of Moore-AnimateAnyone's lineage, ready to sample from."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from aa_jax import weights
from aa_jax.config import NETWORKS, ModelConfig, PoseGuiderConfig
from convert import ConvertError
from convert.commands import options
from convert.reading import families, motion, pieces, presets, spelling
from convert.reading.sources import open_source
from convert.reading.tensors import Source, Tensor
from convert.writing import assembly

DESCRIPTION = """\
Makes a whole model from the weights of MooreThreads/Moore-AnimateAnyone or MusePose:
denoising_unet.pth, reference_unet.pth, pose_guider.pth and motion_module.pth (.safetensors, .ckpt
and .bin too), with VAE and image encoder. These are looked for beside the four files and one folder
up (sd-vae-ft-mse/, image_encoder/). Schedule, skeleton style, guidance and windows of the project
go into config.json, so that its results come out.

Champ's two UNets and motion modules fit too; its guidance encoders do not: name the others with
--networks.
"""
EXAMPLES = """\
examples:
  python -m convert animate-anyone pretrained_weights --output weights/moore
  python -m convert animate-anyone MusePose --vae sd-vae-ft-mse --image-encoder image_encoder \\
    --output weights/musepose
  python -m convert animate-anyone champ --output weights/champ \\
    --networks reference_unet,denoising_unet,motion_module,vae,image_encoder
  python sample.py --weights weights/moore --reference me.png --poses dance.npz
"""

PRESETS = {
    "moore": (presets.MOORE_SKELETON, presets.MOORE_SAMPLING),
    "musepose": (presets.MUSEPOSE_SKELETON, presets.MUSEPOSE_SAMPLING),
}
_OWN = ("reference_unet", "denoising_unet", "motion_module", "pose_guider")
_ENDINGS = (".pth", ".safetensors", ".ckpt", ".bin", ".pt")
_VAE_FOLDERS = ("sd-vae-ft-mse", "vae", "stable-diffusion-v1-5/vae")
_CLIP_FOLDERS = ("image_encoder", "sd-image-variations-diffusers/image_encoder")
_FAMILIES = {
    "reference_unet": ("reference-unet", "sd1-unet"),
    "denoising_unet": ("sd1-unet", "unet-3d"),
    "motion_module": ("motion-module", "unet-3d"),
    "pose_guider": ("pose-guider",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FOLDER", help="holds the four files")
    parser.add_argument("--vae", type=Path, metavar="FILE", help="folder or file of the VAE")
    parser.add_argument(
        "--image_encoder", type=Path, metavar="FILE", help="folder or file of CLIP's image encoder"
    )
    parser.add_argument(
        "--networks",
        type=network_names,
        default=NETWORKS,
        metavar="A,B",
        help=f"which to convert; default: all of {', '.join(NETWORKS)}",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="whose sampling settings to store; default: told by the position tables",
    )
    options.add_output(parser)


def network_names(text: str) -> tuple[str, ...]:
    """Names of networks, separated by commas."""
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in NETWORKS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(NETWORKS)}")
    return tuple(name for name in NETWORKS if name in names)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    names = flags.networks
    assembly.check_output(flags.output, names, overwrite=flags.overwrite)
    paths = find(flags.source, names, flags.vae, flags.image_encoder)
    own = _exported_config(flags.source)
    default = dataclasses.replace(
        presets.STABLE_DIFFUSION_1_5, pose_guider=presets.OPENPOSE_HINT_ENCODER
    )
    base = options.architecture(flags, own.model if own else default)
    sources = {name: _open(name, path) for name, path in paths.items() if name in _OWN}
    sections = {}
    if motion_source := sources.get("motion_module"):
        sections["motion_module"] = motion.architecture(motion_source, base.motion_module)
    if guider := sources.get("pose_guider"):
        sections["pose_guider"] = base.pose_guider if own else _guider_section(guider)
    others = {}
    if "vae" in names:
        others["vae"] = pieces.open_vae(paths["vae"], base)
        sections["autoencoder"] = others["vae"].section
    if "image_encoder" in names:
        others["image_encoder"] = pieces.open_image_encoder(paths["image_encoder"], base)
        sections["image_encoder"] = others["image_encoder"].section
    rest = options.remaining(flags.output, list(names))
    config = options.starting_config(flags.output)
    if {"reference_unet", "denoising_unet"} & set(names):
        sections["unet"] = base.unet
    model = assembly.model_with(config.model, rest, **sections)
    config = dataclasses.replace(_with_preset(config, flags.preset, own, model), model=model)
    parts = []
    for name in names:
        if name in others:
            piece = others.pop(name)
            source, tensors, ignored = piece.source, piece.tensors, piece.ignored
        else:
            source = tensors = sources.pop(name)
            ignored = {}
        parts.append(assembly.plan(name, model, source, tensors, ignored=ignored))
    piece = source = tensors = motion_source = guider = None  # only `parts` keeps files open
    assembly.add(
        flags.output,
        parts,
        config,
        command="animate-anyone",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0


def _exported_config(folder: Path) -> weights.WeightsConfig | None:
    """Our own config.json, which `export` leaves beside the four files."""
    return weights.load_config(folder) if (folder / "config.json").exists() else None


def _with_preset(
    config: weights.WeightsConfig,
    preset: str | None,
    own: weights.WeightsConfig | None,
    model: ModelConfig,
) -> weights.WeightsConfig:
    """The config with the settings to sample with: of a preset, or exported ones."""
    if own and preset is None:
        return dataclasses.replace(
            config, schedule=own.schedule, skeleton=own.skeleton, sampling=own.sampling
        )
    musepose = model.motion_module.max_positions == presets.MUSEPOSE_POSITIONS
    preset = preset or ("musepose" if musepose else "moore")
    skeleton, sampling = PRESETS[preset]
    return dataclasses.replace(
        config,
        schedule=presets.MOORE_SCHEDULE,
        skeleton=skeleton,
        sampling=sampling,
        provenance={**config.provenance, "preset": preset},
    )


def find(
    folder: Path, names: tuple[str, ...], vae: Path | None, image_encoder: Path | None
) -> dict[str, Path]:
    """Where each network's file or folder is.

    Raises:
      ConvertError: one is not there; the message names the file and the flag.
    """
    if not folder.is_dir():
        raise ConvertError(f"{folder}: no such folder")
    paths: dict[str, Path] = {}
    for name in names:
        if name == "vae":
            paths[name] = vae or _folder(folder, _VAE_FOLDERS, "VAE", "--vae")
        elif name == "image_encoder":
            paths[name] = image_encoder or _folder(
                folder, _CLIP_FOLDERS, "image encoder", "--image-encoder"
            )
        else:
            paths[name] = _file(folder, name)
    return paths


def _folder(folder: Path, names: tuple[str, ...], what: str, flag: str) -> Path:
    for place in (folder, folder.absolute().parent):
        for name in names:
            if (place / name).is_dir():
                return place / name
    raise ConvertError(f"{folder}: no {what} there or one folder up; name it with {flag}")


def _file(folder: Path, name: str) -> Path:
    found = [folder / f"{name}{ending}" for ending in _ENDINGS]
    found = [path for path in found if path.exists()]
    # Training code adds the step: denoising_unet-30000.pth
    found = found or sorted(
        path for ending in _ENDINGS for path in folder.glob(f"{name}-*{ending}")
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise ConvertError(
            f"{folder}: {' and '.join(path.name for path in found)} are both {name}; leave one"
        )
    if name == "pose_guider" and list(folder.glob("guidance_encoder_*")):
        raise ConvertError(
            f"{folder}: Champ's weights: its guidance encoders have attention layers and are no "
            "Pose Guider; convert the other networks with --networks"
        )
    if name == "motion_module":
        denoising = _file(folder, "denoising_unet")
        if families.has(open_source(denoising), r"\.motion_modules\."):
            return denoising
    raise ConvertError(f"{folder}: holds no {name}.pth, .safetensors, .ckpt or .bin")


def _open(name: str, path: Path) -> Source:
    source = open_source(path)
    families.require(source, path, _FAMILIES[name], f"{name} of Moore-AnimateAnyone's lineage")
    return source


def _guider_section(tensors: Mapping[str, Tensor]) -> PoseGuiderConfig:
    """Widths from the shapes: each odd block widens."""
    tensors = spelling.canonical("pose_guider", tensors)
    blocks = sum(key.startswith("blocks.") and key.endswith(".weight") for key in tensors)
    keys = ["conv_in.weight", *(f"blocks.{i}.weight" for i in range(1, blocks, 2))]
    widths = tuple(families.width(tensors, key) for key in keys)
    return PoseGuiderConfig(kind="controlnet", block_out_channels=widths)
