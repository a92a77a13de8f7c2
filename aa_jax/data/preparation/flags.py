"""The flags of `prepare.py`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from aa_jax.arguments import Parser, respelled, size
from aa_jax.data.preparation.filters import Rules
from aa_jax.data.preparation.layouts import LAYOUTS
from aa_jax.data.preparation.media import MediaSettings

DESCRIPTION = """\
Turns a folder of videos into a dataset to train on: finds the poses, leaves out what is broken or
useless and says why, and writes TFDS datasets of ArrayRecord files. Killed and started again it
goes on where it stopped.
"""

EXAMPLES = """\
examples:
  a folder of phone videos; poses are detected (pip install 'aa_jax[pose]', docs/poses.md)
    python prepare.py --videos DIR --output DATA
  poses made elsewhere: for DIR/a/b.mp4 either POSES/a/b.npz or a folder POSES/a/b of OpenPose JSON
    python prepare.py --videos DIR --output DATA --keypoints-from POSES
  a public dataset in its own layout, stored as MP4 to save disk
    python prepare.py --layout ubc_fashion --videos UBC --output DATA --storage mp4
  latents and image embeddings computed once, for training at 512x512
    python prepare.py --output DATA --cache-latents --weights WEIGHTS --width 512 --height 512
  then
    python train.py --config configs/stage1.py --config.data.source=DATA

DATA/report.html shows clips and skeletons, names broken videos, counts what every rule left out.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags; raises `SystemExit` after `--help` and, with one line on stderr, for mistakes."""
    return _parser().parse_args([respelled(argument, "-") for argument in arguments])


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="prepare.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--videos", type=Path, metavar="DIR", help="folder of videos, at any depth")
    add("--output", type=Path, metavar="DATA", required=True, help="folder of the dataset")
    add(
        "--layout",
        choices=sorted(LAYOUTS),
        default="folder",
        help="how the videos lie: any folder, or that of a public dataset; default: folder",
    )
    add(
        "--held-out",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share of a folder's videos that becomes the split test, chosen by name; default: 0",
    )
    add(
        "--test-list",
        type=Path,
        metavar="FILE",
        help="names of the folders that tiktok holds out; default: 00335 to 00339",
    )
    add(
        "--workers",
        type=_whole,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes, 0 for none besides this one; default: one per core, here %(default)s",
    )
    add(
        "--beam",
        default="",
        metavar="OPTIONS",
        help="do the videos on a cluster by Apache Beam (pip install 'aa_jax[beam]'), with the "
        "options of its pipeline in one string; videos and DATA must be shared by all workers",
    )
    _add_poses(parser.add_argument_group("poses").add_argument)
    _add_rules(parser.add_argument_group("what is left out (0 or 1 turns a rule off)").add_argument)
    _add_storage(parser.add_argument_group("storage").add_argument)
    _add_latents(parser.add_argument_group("cached latents").add_argument)
    return parser


def _add_poses(add) -> None:
    add(
        "--keypoints-from",
        type=Path,
        metavar="DIR",
        help="use these keypoints (.npz, .json or a folder of .json per video, docs/poses.md), "
        "detect none",
    )
    add(
        "--poses-size",
        type=size,
        metavar="WIDTHxHEIGHT",
        help="pixels of the pictures in which the points of --keypoints-from were measured, for "
        "files that do not say so, as OpenPose's; default: the video's",
    )
    add(
        "--detector",
        choices=("auto", "dwpose", "blazepose"),
        help="what finds the poses; default: auto, DWPose where its files are given, else "
        "BlazePose, whose files are fetched once (36 MB)",
    )
    add(
        "--pose-models",
        type=Path,
        metavar="DIR|WHEEL",
        help="BlazePose's files without a network: a folder of them, or the wheel they are in",
    )
    add(
        "--dwpose",
        type=Path,
        metavar="DIR",
        help="folder of DWPose's two ONNX files; default: what AA_JAX_DWPOSE_DIR names",
    )
    add(
        "--provider",
        choices=("auto", "cpu", "cuda"),
        help="where DWPose computes; default: auto",
    )
    add(
        "--person",
        choices=("best", "tracked"),
        default="best",
        help="of several people: the best seen in each frame, or one followed; default: best",
    )


def _add_rules(add) -> None:
    rules = Rules()
    add(
        "--min-frames",
        type=_whole,
        default=rules.min_frames,
        metavar="N",
        help="shortest clip; default: %(default)s",
    )
    add(
        "--min-side",
        type=_whole,
        default=rules.min_side,
        metavar="PIXELS",
        help="least shorter side; default: %(default)s",
    )
    add(
        "--max-crowded",
        type=_share,
        default=rules.max_crowded,
        metavar="SHARE",
        help="largest share of frames with more than one person; default: %(default)s",
    )
    add(
        "--max-empty",
        type=_share,
        default=rules.max_empty,
        metavar="SHARE",
        help="largest share of frames with nobody; default: %(default)s",
    )
    add(
        "--min-visible",
        type=_share,
        default=rules.min_visible,
        metavar="SHARE",
        help="least share of the 18 body joints visible; default: %(default)s",
    )


def _add_storage(add) -> None:
    settings = MediaSettings()
    add(
        "--storage",
        choices=("jpeg", "mp4"),
        default=settings.storage,
        help="a JPEG per frame, or an MP4 per clip: smaller, slower to read; default: %(default)s",
    )
    add(
        "--short-side",
        type=_positive,
        default=settings.short_side,
        metavar="PIXELS",
        help="larger frames are shrunk to this shorter side; default: %(default)s",
    )
    add(
        "--jpeg-quality",
        type=_quality,
        default=settings.jpeg_quality,
        metavar="Q",
        help="1 to 100; default: %(default)s",
    )
    add(
        "--drop-clips",
        action="store_true",
        help="remove frames from DATA/cache once the dataset holds them; poses stay there",
    )


def _add_latents(add) -> None:
    add(
        "--cache-latents",
        action="store_true",
        help="encode every frame of the dataset once; training then reads latents",
    )
    add("--weights", metavar="DIR", help="weights directory with the VAE and image encoder")
    add("--width", type=_positive, metavar="PIXELS", help="as data.width; default: the weights'")
    add("--height", type=_positive, metavar="PIXELS", help="as data.height; default: the weights'")
    add(
        "--buckets",
        type=size,
        nargs="+",
        default=[],
        metavar="WIDTHxHEIGHT",
        help="as data.buckets: sizes of different aspect ratios instead of one",
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the computation, as train.dtype; default: %(default)s",
    )


def _whole(text: str) -> int:
    return _number(int, text, 0, float("inf"), "a whole number from 0 up")


def _positive(text: str) -> int:
    return _number(int, text, 1, float("inf"), "a whole number from 1 up")


def _quality(text: str) -> int:
    return _number(int, text, 1, 100, "a whole number from 1 to 100")


def _share(text: str) -> float:
    return _number(float, text, 0, 1, "a number from 0 to 1")


def _number(kind: type, text: str, low: float, high: float, wanted: str):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value
