"""`resnet`: ImageNet's ResNet-50 as a source of reference features."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aa_jax.config import ReferenceConfig
from convert import ConvertError
from convert.commands import options
from convert.reading import families
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor
from convert.writing import assembly

DESCRIPTION = """\
Makes the network `resnet` of models whose model.reference.kind is resnet from torchvision's file of
a ResNet-50. Its batch norms, constant in use, become one scale and one bias per channel; the
classifier is left out.
"""
EXAMPLES = """\
examples:
  python -m convert resnet resnet50-0676ba61.pth --output weights
"""

EPSILON = 1e-5
"""Of torchvision's batch norms."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="torchvision's .pth file")
    options.add_output(parser)


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    network = "resnet"
    assembly.check_output(flags.output, [network], overwrite=flags.overwrite)
    source = open_source(flags.source)
    families.require(source, flags.source, ("resnet",), "torchvision's ResNet-50")
    config = options.starting_config(flags.output)
    reference = section(source, config.model.reference)
    rest = options.remaining(flags.output, [network])
    model = assembly.model_with(config.model, rest, reference=reference)
    config = dataclasses.replace(config, model=model)
    part = assembly.plan(network, model, source, folded(source))
    assembly.add(
        flags.output,
        [part],
        config,
        command="resnet",
        overwrite=flags.overwrite,
        allow_nonfinite=flags.allow_nonfinite,
    )
    return 0


def section(tensors: Mapping[str, Tensor], base: ReferenceConfig) -> ReferenceConfig:
    """The architecture, from names and shapes."""
    blocks = [
        len({key.split(".")[1] for key in tensors if key.startswith(f"layer{i}.")})
        for i in range(1, 5)
    ]
    width = tensors["conv1.weight"].shape[0]
    return dataclasses.replace(base, resnet_layers=tuple(blocks), resnet_width=width)


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with every batch norm as `weight` and `bias` of an affine map.

    Raises:
      ConvertError: a part of a batch norm is missing.
    """
    out = {
        key: tensor
        for key, tensor in tensors.items()
        if not re.search(r"\.(running_mean|running_var|num_batches_tracked)$|^bn1\.|\.bn\d\.", key)
        and not (re.search(r"\.downsample\.1\.", key))
    }
    norms = {
        match[1]
        for key in tensors
        if (match := re.fullmatch(r"((?:.*\.)?(?:bn\d|downsample\.1))\.\w+", key))
    }
    for norm in sorted(norms):
        out |= _folded(norm, tensors)
    return out


def _folded(norm: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weight, bias = f"{norm}.weight", f"{norm}.bias"
    parts = (weight, bias, f"{norm}.running_mean", f"{norm}.running_var")
    there = [name for name in parts if name in tensors]
    if there == [weight, bias]:  # as we export it
        return {name: tensors[name] for name in there}
    if len(there) < len(parts):
        missing = next(name for name in parts if name not in tensors)
        raise ConvertError(f"resnet: missing {missing}")
    scale, shift, mean, variance = (tensors[name].read().astype(np.float64) for name in parts)
    scale = scale / np.sqrt(variance + EPSILON)
    return {
        weight: Tensor.of(scale.astype(np.float32)),
        bias: Tensor.of((shift - mean * scale).astype(np.float32)),
    }
