"""`inspect`: what a file is, and which command converts it."""

from __future__ import annotations

import argparse
import collections
import math
from pathlib import Path

from aa_jax import weights
from aa_jax.arguments import as_called
from aa_jax.files import numbered
from convert.reading import families
from convert.reading.sources import SUFFIXES, folder_weights, open_source
from convert.reading.tensors import Source

DESCRIPTION = """\
Says what a file or folder of weights is: family and version, tensors, parameters, dtypes, size, and
which command converts it. Reads no more than the names and shapes.
"""
EXAMPLES = """\
examples:
  python -m convert inspect mm_sd_v15_v2.ckpt
  python -m convert inspect stable-diffusion-v1-5/unet --tensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("source", type=Path, metavar="FILE", help="file or folder")
    parser.add_argument("--tensors", action="store_true", help="list all tensors")


def run(flags: argparse.Namespace) -> int:
    """Runs the command; returns 0 where all it found can be converted, 1 where not."""
    if networks := weights.networks(flags.source):
        print(f"{flags.source}: weights directory with {', '.join(networks)}")
        for name in networks:
            path = weights.resolve(flags.source) / f"{name}.safetensors"
            if short := families.short_numbers(open_source(path)):
                print(f"  cannot be used: {name}: {short}")
                return 1
        print(as_called(f"  python sample.py --weights {flags.source}"))
        return 0
    paths = _inside(flags.source)
    if not paths:
        open_source(flags.source)  # says what is missing
    usable = True
    for path in paths:
        source = open_source(path)
        family = families.recognise(source)
        usable &= bool(family.command)
        print(describe(source, family))
        if flags.tensors:
            for name, tensor in source.items():
                print(f"  {name}  {list(tensor.shape)}  {tensor.dtype}")
    return 0 if usable else 1


def _inside(path: Path) -> list[Path]:
    """The file or folder itself, or what a pipeline's folder holds."""
    if not path.is_dir() or folder_weights(path):
        return [path]
    folders = [child for child in sorted(path.iterdir()) if folder_weights(child)]
    return sorted(folders + numbered(path, SUFFIXES))


def describe(source: Source, family: families.Family) -> str:
    """Several lines about a source."""
    dtypes: collections.Counter[str] = collections.Counter()
    parameters = 0
    for tensor in source.values():
        dtypes[str(tensor.dtype)] += 1
        parameters += math.prod(tensor.shape)
    size = sum(tensor.nbytes for tensor in source.values())
    kinds = ", ".join(f"{count} {name}" for name, count in dtypes.most_common())
    lines = [
        f"{source.path}: {family.title}",
        f"  {len(source)} tensors ({kinds}), {parameters / 1e6:.1f} M numbers, "
        f"{size / 2**30:.2f} GiB in {len(source.files)} file{'s' * (len(source.files) > 1)}",
    ]
    if source.left_out:
        lines.append(f"  besides: {', '.join(sorted(source.left_out))}")
    if family.command:
        lines.append(f"  python -m convert {family.command.replace('FILE', str(source.path), 1)}")
    else:
        lines.append(f"  cannot be used: {family.refused}")
    return as_called("\n".join(lines))
