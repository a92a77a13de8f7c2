"""`python -m convert`: weights in and out."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from aa_jax import arguments

DESCRIPTION = """\
Weights in and out: PyTorch files people own to weights directories and back.

A weights directory holds config.json and one safetensors file per network. Commands make one or add
to one; what they bring must not be there yet (--overwrite replaces it). Everything is strict: a
tensor is used or left out for a stated reason, every parameter is filled, every shape checked.
Numbers keep the dtype they have.
"""
EXAMPLES = """\
examples:
  what is this file?
    python -m convert inspect mm_sd_v15_v2.ckpt
  what stage 1 starts from
    python -m convert stable-diffusion stable-diffusion-v1-5 --output weights
    python -m convert image-encoder clip-vit-large-patch14 --output weights
  a published model, ready to sample from
    python -m convert animate-anyone pretrained_weights --output weights/moore
  back to PyTorch
    python -m convert export weights/moore --output moore_again
"""

COMMANDS = {
    "stable-diffusion": ("stable_diffusion", "both UNets and the VAE from Stable Diffusion 1.x"),
    "image-encoder": ("image_encoder", "the image encoder from CLIP ViT-L/14"),
    "animatediff": ("animatediff", "motion modules from AnimateDiff, with motion LoRAs"),
    "animate-anyone": ("animate_anyone", "a whole model from Moore-AnimateAnyone or MusePose"),
    "controlnet-openpose": ("controlnet", "a Pose Guider's start from the OpenPose ControlNet"),
    "reference-controlnet": ("reference_controlnet", "a ControlNet fed the reference picture"),
    "sd-i2v": ("sd_i2v", "the baseline SD-I2V: SD 1.x, ControlNet, IP-Adapter and AnimateDiff"),
    "resnet": ("resnet", "ImageNet's ResNet-50, as a source of reference features"),
    "metrics": ("metrics", "the networks of LPIPS, FVD, FID and FID-VID"),
    "pose-models": ("pose_models", "BlazePose's networks, which find poses in videos"),
    "export": ("export", "a weights directory or training run back to PyTorch files"),
    "inspect": ("inspection", "what a file is and which command converts it"),
    "verify": ("verify", "our numbers against those of the original implementation"),
}
"""Module and one line of help of every command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where it failed, 2 for a mistake in the flags."""
    given = sys.argv[1:] if argv is None else argv
    given = [arguments.respelled(argument, "_") for argument in given]
    command = next((a for a in given if not a.startswith("-")), None)
    try:
        flags = _parser(command).parse_args(given)
    except SystemExit as stop:
        return int(stop.code or 0)
    return _report_errors(flags)


def _report_errors(flags: argparse.Namespace) -> int:
    from aa_jax import cli
    from convert import ConvertError

    code = 0

    def call() -> None:
        nonlocal code
        code = flags.run(flags)

    try:
        return cli.report_errors(call) or code
    except ConvertError as error:
        return cli.fail(error, 1)
    except MemoryError:
        return cli.fail("out of memory", 1)


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; flags of the one command asked for only, whose module is imported."""
    shared = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = arguments.Parser(
        prog="python -m convert", description=DESCRIPTION, epilog=EXAMPLES, **shared
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module_name, line) in COMMANDS.items():
        if name != command:
            subparsers.add_parser(name, help=line)
            continue
        module = importlib.import_module(f"convert.commands.{module_name}")
        subparser = subparsers.add_parser(
            name,
            help=line,
            description=getattr(module, "DESCRIPTION", line),
            epilog=getattr(module, "EXAMPLES", None),
            **shared,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
