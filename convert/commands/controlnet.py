"""`controlnet-openpose`: the start of a Pose Guider from ControlNet's hint encoder."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aa_jax.config import PoseGuiderConfig
from convert import ConvertError
from convert.commands import options
from convert.reading import families, ldm, presets
from convert.reading.sources import open_source
from convert.reading.tensors import Source, Tensor
from convert.writing import assembly

DESCRIPTION = """\
Makes a Pose Guider of kind `controlnet` from the hint encoder of control_v11p_sd15_openpose, to
start stage 1 from. Its last layer starts at zero, as in the paper and in Moore-AnimateAnyone's
training, so that training starts from the UNet as it is; --keep_output takes ControlNet's instead.
"""
EXAMPLES = """\
examples:
  python -m convert controlnet-openpose control_v11p_sd15_openpose --output weights
  python train.py --config configs/stage1.py --config.init.weights=weights \\
    --config.model.pose_guider.kind=controlnet \\
    --config.model.pose_guider.block_out_channels='(16,32,96,256)'
"""
_PREFIX = "controlnet_cond_embedding."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="diffusers folder or single file")
    parser.add_argument(
        "--keep_output", action="store_true", help="take the last layer too instead of zeros"
    )
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    network = "pose_guider"
    assembly.check_output(flags.output, [network], overwrite=flags.overwrite)
    source = open_source(flags.source)
    families.require(source, flags.source, ("controlnet",), "a ControlNet of SD 1.x")
    tensors = hint_encoder(source)
    ignored = {key: "ControlNet's copy of the UNet" for key in source if not _is_hint(key)}
    if not flags.keep_output:
        tensors = {**tensors, **_zeros(tensors)}
        ignored |= {
            key: "the last layer starts at zero (--keep_output takes it)"
            for key in source
            if _is_hint(key) and _name(key).startswith("conv_out.")
        }
    config = options.starting_config(flags.output)
    section = options.architecture(flags, config.model).pose_guider
    if flags.architecture is None:
        section = _section(source)
    rest = options.remaining(flags.output, [network])
    config = dataclasses.replace(
        config, model=assembly.model_with(config.model, rest, pose_guider=section)
    )
    part = assembly.plan(network, config.model, source, tensors, ignored=ignored)
    assembly.add(
        flags.output,
        [part],
        config,
        command="controlnet-openpose",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0


def hint_encoder(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The hint encoder's tensors under the Pose Guider's names."""
    return {_name(key): source[key] for key in source if _is_hint(key)}


def _is_hint(key: str) -> bool:
    return key.startswith((_PREFIX, f"{ldm.CONTROL}input_hint_block."))


def _name(key: str) -> str:
    if key.startswith(_PREFIX):
        return key.removeprefix(_PREFIX)
    index, _, leaf = key.removeprefix(f"{ldm.CONTROL}input_hint_block.").partition(".")
    if int(index) not in ldm.HINT:
        raise ConvertError(f"{key}: no such layer in a hint encoder of 8 convolutions")
    return f"{ldm.HINT[int(index)]}.{leaf}"


def _zeros(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: tensor.map(tensor.shape, np.zeros_like)
        for key, tensor in tensors.items()
        if key.startswith("conv_out.")
    }


def _section(source: Source) -> PoseGuiderConfig:
    widths = source.config.get("conditioning_embedding_out_channels")
    if widths is None:
        return presets.OPENPOSE_HINT_ENCODER
    return PoseGuiderConfig(kind="controlnet", block_out_channels=tuple(widths))
