"""`reference-controlnet`: the ControlNet that is fed the reference picture, from one of SD 1.x."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from convert.commands import options
from convert.reading import architectures, families, ldm
from convert.reading.sources import open_source
from convert.writing import assembly

DESCRIPTION = """\
Makes the network `controlnet` of models whose model.reference.kind is controlnet or clip_controlnet
from any ControlNet of Stable Diffusion 1.x: a diffusers folder or file, or a single file.
"""
EXAMPLES = """\
examples:
  python -m convert reference-controlnet control_v11p_sd15_openpose --output weights
  python -m convert reference-controlnet exported/controlnet --output weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="diffusers folder or single file")
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    network = "controlnet"
    assembly.check_output(flags.output, [network], overwrite=flags.overwrite)
    source = open_source(flags.source)
    families.require(source, flags.source, ("controlnet",), "a ControlNet of SD 1.x")
    config = options.starting_config(flags.output)
    assumed = options.architecture(flags, config.model)
    unet, reference = assumed.unet, assumed.reference
    if source.config:
        where = f"{flags.source}/config.json"
        unet, hint_channels = architectures.controlnet(source.config, where)
        # What only the way up and a denoising UNet's end know is no part of a ControlNet.
        unet = dataclasses.replace(unet, out_channels=assumed.unet.out_channels)
        reference = dataclasses.replace(reference, hint_channels=hint_channels)
    rest = options.remaining(flags.output, [network])
    model = assembly.model_with(config.model, rest, unet=unet, reference=reference)
    config = dataclasses.replace(config, model=model)
    tensors = ldm.control_net(source, layers_per_block=unet.layers_per_block)
    part = assembly.plan(network, config.model, source, tensors)
    assembly.add(
        flags.output,
        [part],
        config,
        command="reference-controlnet",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0
