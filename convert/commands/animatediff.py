"""`animatediff`: motion modules, with motion LoRAs merged in."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

from convert import ConvertError
from convert.commands import options
from convert.reading import families, motion, presets
from convert.reading.sources import open_source
from convert.writing import assembly

DESCRIPTION = """\
Makes the motion modules from AnimateDiff v1 (mm_sd_v14, mm_sd_v15: 24 positions), v2
(mm_sd_v15_v2: 32 positions, a module in the mid block) or v3 (v3_sd15_mm: 32 positions), or from a
diffusers MotionAdapter folder. The file tells the version; --version makes sure of it.

v1 was trained with GroupNorm over all frames of a clip, so model.unet.group_norm_scope becomes
over_frames; a training run that starts from it needs the same setting.
"""
EXAMPLES = """\
examples:
  python -m convert animatediff mm_sd_v15_v2.ckpt --output weights
  python -m convert animatediff v3_sd15_mm.ckpt --output runs/stage1/weights
  python -m convert animatediff mm_sd_v15_v2.ckpt --motion-lora v2_lora_ZoomIn.ckpt:0.8 --output w
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="file or MotionAdapter folder")
    parser.add_argument("--version", choices=sorted(presets.ANIMATEDIFF), help="must be this one")
    parser.add_argument(
        "--motion_lora",
        type=lora_argument,
        action="append",
        default=[],
        metavar="FILE[:SCALE]",
        help="motion LoRA to merge, with its strength (default: 1); may be given several times",
    )
    options.add_output(parser)


def lora_argument(text: str) -> tuple[Path, float]:
    """`FILE` or `FILE:SCALE` as path and strength."""
    path, colon, number = text.rpartition(":")
    try:
        scale = float(number) if colon else 1.0
    except ValueError:  # a colon of the path's own
        return Path(text), 1.0
    if not math.isfinite(scale):
        raise argparse.ArgumentTypeError(f"{text}: the scale must be a finite number")
    return Path(path if colon else text), scale


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    network = "motion_module"
    assembly.check_output(flags.output, [network], overwrite=flags.overwrite)
    source = open_source(flags.source)
    families.require(source, flags.source, (network.replace("_", "-"), "unet-3d"), "AnimateDiff")
    base = options.architecture(flags, presets.STABLE_DIFFUSION_1_5)
    section = motion.architecture(source, base.motion_module)
    if flags.architecture is not None and section != base.motion_module:
        section = dataclasses.replace(base.motion_module, enabled=True)  # a mismatch is an error
    _check_version(flags, section)
    tensors = source
    loras = [(open_source(path), scale) for path, scale in flags.motion_lora]
    for lora, scale in loras:
        tensors = motion.merged(tensors, lora, scale)

    config = options.starting_config(flags.output)
    rest = options.remaining(flags.output, [network])
    unet = base.unet
    if flags.architecture is None:
        unet = dataclasses.replace(unet, group_norm_scope=motion.group_norm_scope(section))
    config = dataclasses.replace(
        config,
        model=assembly.model_with(config.model, rest, unet=unet, motion_module=section),
    )
    part = assembly.plan(
        network, config.model, source, tensors, sources=tuple(lora for lora, _ in loras)
    )
    assembly.add(
        flags.output,
        [part],
        config,
        command="animatediff",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0


def _check_version(flags: argparse.Namespace, found) -> None:
    if flags.version is None:
        return
    wanted = presets.ANIMATEDIFF[flags.version]
    for field in ("max_positions", "mid_block"):
        if getattr(found, field) != getattr(wanted, field):
            raise ConvertError(
                f"{flags.source}: is not AnimateDiff {flags.version}: {field} is "
                f"{getattr(found, field)} where {flags.version} has {getattr(wanted, field)}"
            )
