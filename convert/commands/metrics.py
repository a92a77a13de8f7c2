"""`metrics`: the networks that LPIPS, FVD, FID and FID-VID are measured with."""

from __future__ import annotations

import argparse
from pathlib import Path

from aa_jax import files
from aa_jax.metrics import weights
from convert import ConvertError
from convert.reading import metrics
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor
from convert.writing import writer

DESCRIPTION = """\
Brings a metric's network into the user's cache, where evaluate.py finds it. Batch norms become part
of the convolutions before them. With the extra `metrics` installed, LPIPS and FVD need no file:

  pip install 'aa_jax[metrics]'

networks, and files people own:
  lpips-alex    the state dict of lpips.LPIPS(net='alex'); or torchvision's AlexNet with --heads
  lpips-vgg     the same of VGG16
  i3d           i3d_pretrained_400.pt (Kinetics-400 logits, names of pytorch-i3d), for FVD
  inception     pt_inception-2015-12-05-6726825d.pth of pytorch-fid, for FID
  resnet3d      resnet-50-kinetics.pth of 3D-ResNets-PyTorch, for FID-VID
"""
EXAMPLES = """\
examples:
  python -m convert metrics inception pt_inception-2015-12-05-6726825d.pth
  python -m convert metrics lpips-alex alexnet-owt-7be5be79.pth --heads lpips/weights/v0.1/alex.pth
  python -m convert metrics resnet3d resnet-50-kinetics.pth --output resnet3d.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("network", choices=tuple(weights.NETWORKS), help="which one it is")
    parser.add_argument("source", type=Path, metavar="FILE", help="its weights")
    parser.add_argument("--heads", type=Path, metavar="FILE", help="LPIPS's heads, in another file")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to; default: the user's cache"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    output = flags.output or weights.cached(flags.network)
    if output.exists() and not flags.overwrite:
        raise ConvertError(f"{output}: exists; choose another --output or --overwrite")
    if flags.heads and not flags.network.startswith("lpips"):
        raise ConvertError(f"--heads: {flags.network} has none; only LPIPS's networks do")
    files.check_writable(output)
    source = open_source(flags.source)
    heads = open_source(flags.heads) if flags.heads else None
    arrays = metrics.arrays(flags.network, source, heads)
    tensors = {name: Tensor.of(x) for name, x in arrays.items()}
    used = [path for part in (source, heads) if part for path in part.files]
    about = {
        "network": flags.network,
        "source": ", ".join(files.readable(path.name) for path in used),
        "sha256": ", ".join(map(files.sha256, used)),
    }
    with files.replacing_file(output) as path:
        writer.write_safetensors(path, tensors, allow_nonfinite=False, metadata=about)
    count = sum(x.size for x in arrays.values())
    print(f"{output}: {flags.network} of {about['source']}, {count:,} parameters")
    return 0
