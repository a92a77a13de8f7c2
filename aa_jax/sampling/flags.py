"""The command line of `sample.py`.

Parsing needs the standard library only, so that `--help` and mistakes answer at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aa_jax.arguments import Parser, person, respelled, size

DESCRIPTION = """\
Animates a character: one reference picture and a sequence of poses become a video.

Without flags the bundled example runs: a small trained model brings a drawn puppet to life.
"""

EXAMPLES = """\
examples:
  the bundled example, written to animation.mp4
    python sample.py
  another character, the bundled poses; reference, skeleton and result next to each other
    python sample.py --reference me.png --side_by_side --output me.mp4
  your own weights and poses, sixteen frames
    python sample.py --weights runs/stage2/weights --reference me.png --poses dance.npz --frames 16
  skeleton pictures drawn elsewhere, faster and without guidance
    python sample.py --poses skeletons/ --preset fast --guidance_scale 1
  a person dancing in a video, sound included (pip install 'aa_jax[pose]', docs/poses.md)
    python sample.py --reference me.png --driving dance.mp4 --output me.mp4
  poses of somebody else, fitted to the reference's body
    python sample.py --reference me.png --poses dance.npz --reference_poses me.json
  what OpenPose wrote for a video of 1280x720, following one of its dancers
    python sample.py --reference me.png --poses out/ --poses_size 1280x720 --person tracked
  a minute of video; the same command with --resume goes on where it was interrupted
    python sample.py --poses ballet.npz --output ballet.mp4

  a signed video; what a file says about itself (docs/provenance.md)
    python sample.py --sign me.pem me.key --output me.mp4
    python sample.py --inspect me.mp4

Videos say in their tags that they were generated, by which weights, seed and settings.
Settings that are not given (size, sampler, steps, guidance, windows) come from the weights'
config.json. All poses are used; a video of more frames than one window is made in several.
"""


class Preset(NamedTuple):
    """A sampler and a number of steps that go well together."""

    sampler: str
    steps: int


PRESETS = {"fast": Preset("unipc", 10), "draft": Preset("unipc", 5)}
"""Approximations to 20 steps of DDIM, measured in docs/sampling.md."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags; raises `SystemExit` after `--help` and, with one line on stderr, for mistakes."""
    given = [respelled(argument, "_") for argument in arguments]
    parser = _parser()
    flags = parser.parse_args(given)
    if flags.inspect and len(given) > (1 if given[0].startswith("--inspect=") else 2):
        parser.error("--inspect FILE goes alone; it makes no video")
    return flags


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sample.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--weights",
        metavar="DIR",
        default="bundled",
        help="weights directory (config.json beside safetensors); default: the bundled model",
    )
    add("--reference", metavar="PICTURE", help="the character; default: a bundled puppet")
    add(
        "--background",
        type=_colour,
        default="white",
        metavar="COLOUR",
        help="what shows where the reference is transparent: a name, #ff8000 or 255,128,0; "
        "default: %(default)s",
    )
    poses = parser.add_mutually_exclusive_group()
    poses.add_argument(
        "--poses",
        metavar="PATH",
        help="keypoints (.npz, .json of OpenPose, DWPose, ComfyUI, MMPose, COCO, AlphaPose, or a "
        "folder of one per frame), a folder of skeleton pictures, or a skeleton video; default: a "
        "bundled dance",
    )
    poses.add_argument(
        "--driving",
        type=Path,
        metavar="VIDEO",
        help="take the poses, frame rate and sound of a video: detected, smoothed, fitted to the "
        "reference's body; see docs/poses.md",
    )
    add(
        "--poses_size",
        type=size,
        metavar="WIDTHxHEIGHT",
        help="pixels of the pictures in which the points of --poses were measured, for files that "
        "do not say so, as OpenPose's; default: the reference picture's",
    )
    add(
        "--detector",
        choices=("auto", "dwpose", "blazepose"),
        help="what finds the poses of --driving; default: auto, DWPose where its files are given, "
        "else BlazePose, whose files are fetched once (36 MB)",
    )
    add(
        "--dwpose",
        metavar="DIR",
        help="folder of DWPose's yolox_l.onnx and dw-ll_ucoco_384.onnx; default: AA_JAX_DWPOSE_DIR",
    )
    add(
        "--pose_models",
        metavar="DIR|WHEEL",
        help="BlazePose's files without a network: a folder of them, or the wheel they are in",
    )
    add(
        "--person",
        type=person,
        metavar="best|tracked|FRAME:NUMBER",
        help="of several people in --driving or in keypoints of --poses: in every frame the one "
        "seen best, the same one all through, or whoever is that number in that frame, both from "
        "0 (app.py shows them); default: best",
    )
    add(
        "--smoothing",
        choices=("one_euro", "savgol", "none"),
        help="how jitter is removed from poses; default: one_euro with --driving, none for "
        "keypoints of --poses",
    )
    add(
        "--reference_poses",
        type=Path,
        metavar="PATH",
        help="keypoints of the reference picture; --poses are then fitted to them, and --driving "
        "need not detect them",
    )
    add(
        "--retargeting",
        choices=("bones", "affine", "none"),
        help="how poses of --driving, or of --poses with --reference_poses, are fitted to the "
        "reference's body: every bone, the figure as a whole, or not at all; default: bones",
    )
    add(
        "--anchor",
        choices=("auto", "neck", "ground"),
        help="what keeps its place when poses are fitted by bones; default: auto",
    )
    add(
        "--output",
        type=_video_path,
        metavar="VIDEO",
        default="animation.mp4",
        help="where the H.264 video goes (.mp4, .mov or .mkv); default: %(default)s",
    )
    add("--width", type=_count, metavar="PIXELS", help="width of the video")
    add("--height", type=_count, metavar="PIXELS", help="height of the video")
    add("--frames", type=_count, metavar="N", help="use only the first N poses; default: all")
    add(
        "--preset",
        choices=tuple(PRESETS),
        help="sampler and steps in place of the weights': "
        + "; ".join(f"{name}: {sampler}, {steps}" for name, (sampler, steps) in PRESETS.items())
        + ". Approximations to 20 steps of ddim; --sampler and --steps come first",
    )
    add(
        "--sampler",
        choices=("ddim", "dpm_solver", "unipc"),
        help="how noise becomes latents: DDIM, DPM-Solver++(2M) or UniPC, the last two for few "
        "steps; see docs/sampling.md",
    )
    add("--steps", type=_count, metavar="N", help="denoising steps; more are slower and finer")
    add(
        "--feature_cache_interval",
        type=_count,
        default=1,
        metavar="N",
        help="an approximation: compute the whole network every N-th step only, and its shallowest "
        "layers between; videos of one window; default: 1, which is off",
    )
    add(
        "--guidance_scale",
        type=_scale,
        metavar="X",
        help="how strongly the reference is imposed; 1 is no guidance and twice as fast",
    )
    add("--seed", type=_seed, default=0, metavar="N", help="names the noise; default: 0")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the computation; bfloat16 is for GPUs and TPUs; default: %(default)s",
    )
    add(
        "--window_method",
        choices=("blend", "edge", "uniform"),
        help="how videos longer than one window of frames are put together; see "
        "docs/long_videos.md",
    )
    add(
        "--overlap",
        type=_overlap,
        metavar="N",
        help="frames that neighbouring windows share (edge: always half of them)",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with a long video that was interrupted, from its last whole step",
    )
    add("--gif", action="store_true", help="write a GIF beside the video too")
    add(
        "--side_by_side",
        action="store_true",
        help="show reference, skeleton and result next to each other",
    )
    add(
        "--sign",
        nargs=2,
        metavar=("CERT", "KEY"),
        help="sign what is written by C2PA, with a certificate and its private key, both PEM "
        "(pip install 'aa_jax[provenance]'); default: AA_JAX_SIGN_CERT and AA_JAX_SIGN_KEY",
    )
    add(
        "--inspect",
        type=Path,
        metavar="FILE",
        help="make nothing; print what a picture or video says about its origin, and whether its "
        "signature holds",
    )
    return parser


def _video_path(text: str) -> Path:
    from aa_jax.media.video import VideoError, check_suffix

    try:
        check_suffix(text)
    except VideoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def _colour(text: str) -> tuple[int, int, int]:
    from aa_jax.media.pictures import parse_colour

    try:
        return parse_colour(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    value = _number(int, text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _overlap(text: str) -> int:
    value = _number(int, text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def _seed(text: str) -> int:
    value = _number(int, text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**32 - 1}, got {text}")
    return value


def _scale(text: str) -> float:
    value = _number(float, text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 up, got {text}")
    return value


def _number(kind: type, text: str):
    try:
        return kind(text)
    except ValueError:
        kinds = {int: "a whole number", float: "a number"}
        raise argparse.ArgumentTypeError(f"must be {kinds[kind]}, got {text!r}") from None
