"""`image-encoder`: CLIP's vision tower with projection."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from convert.commands import options
from convert.reading import pieces, presets
from convert.writing import assembly

DESCRIPTION = """\
Makes the image encoder from CLIP ViT-L/14 as transformers saves it: a folder or file of
CLIPVisionModelWithProjection, or of the full CLIP model, whose text side is left out.
"""
EXAMPLES = """\
examples:
  python -m convert image-encoder sd-image-variations-diffusers/image_encoder --output weights
  python -m convert image-encoder clip-vit-large-patch14 --output weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="folder or file")
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    network = "image_encoder"
    assembly.check_output(flags.output, [network], overwrite=flags.overwrite)
    model = options.architecture(flags, presets.STABLE_DIFFUSION_1_5)
    piece = pieces.open_image_encoder(flags.source, model)
    config = options.starting_config(flags.output)
    rest = options.remaining(flags.output, [network])
    config = dataclasses.replace(
        config, model=assembly.model_with(config.model, rest, image_encoder=piece.section)
    )
    part = assembly.plan(network, config.model, piece.source, piece.tensors)
    assembly.add(
        flags.output,
        [part],
        config,
        command="image-encoder",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0
