"""The command line of `sample.py`.

Parsing needs the standard library only, so that `--help` and mistakes answer at once.
"""

import argparse
import importlib.resources
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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
    python sample.py --poses skeletons/ --steps 10 --guidance_scale 1

Settings that are not given (size, frames, steps, guidance) come from the weights' config.json.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where sampling failed, 2 for a mistake in the flags."""
    from aa_jax import cli

    arguments = sys.argv[1:] if argv is None else argv
    try:
        flags = _parser().parse_args([_underscored(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return cli.report_errors(lambda: run(flags))
    except RuntimeError as error:  # what jax raises when the device is full
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return cli.fail("out of memory; try fewer frames, a smaller size or --dtype bfloat16", 1)
    except MemoryError:
        return cli.fail("out of memory; try fewer frames or a smaller size", 1)


def run(flags: argparse.Namespace) -> None:
    """Does what the flags say."""
    start = time.perf_counter()

    def report(line: str) -> None:
        print(f"[{time.perf_counter() - start:5.1f} s] {line}", flush=True)

    output = flags.output
    gif = output.with_suffix(".gif") if flags.gif else None
    _prepare_outputs(output, gif)

    report("loading jax and the weights")
    import jax
    import jax.numpy as jnp

    from aa_jax import runtime, weights
    from aa_jax.data.pictures import read_picture
    from aa_jax.sampling.pipeline import Pipeline, SamplingError
    from aa_jax.sampling.poses import load_skeletons

    runtime.prepare()
    config = weights.load_config(flags.weights)
    defaults = config.sampling
    width, height = flags.width or defaults.width, flags.height or defaults.height
    steps = flags.steps or defaults.steps
    guidance = defaults.guidance_scale if flags.guidance_scale is None else flags.guidance_scale
    pipeline = Pipeline(config.model, config.schedule, jnp.dtype(flags.dtype))
    pipeline.check(frames=flags.frames or 1, height=height, width=width, steps=steps)

    reference = read_picture(flags.reference or _asset("reference.png"))
    poses = flags.poses or _asset("poses.npz")
    skeletons, fps, aspect = load_skeletons(
        poses,
        width=width,
        height=height,
        style=config.skeleton,
        max_frames=flags.frames or defaults.frames,
    )
    if len(skeletons) < (flags.frames or 1):
        raise SamplingError(
            f"{poses}: has {len(skeletons)} frames, --frames asks for {flags.frames}"
        )
    pipeline.check(frames=len(skeletons), height=height, width=width, steps=steps)
    _warn_of_distortion("reference picture", reference.shape[1] / reference.shape[0], width, height)
    _warn_of_distortion("poses", aspect, width, height)

    _, params = weights.load(flags.weights)
    frames = pipeline.animate(
        jax.device_put(params),
        reference,
        skeletons,
        steps=steps,
        guidance_scale=guidance,
        seed=flags.seed,
        eta=defaults.eta,
        report=report,
    )
    _write(output, gif, frames, skeletons, reference, fps, side_by_side=flags.side_by_side)
    written = f"{output} and {gif}" if gif else f"{output}"
    size = f"{len(frames)} frames of {width}x{height} at {fps:g} frames per second"
    report(f"wrote {written}: {size}")


def _prepare_outputs(output: Path, gif: Path | None) -> None:
    """Finds out before the work, not after it, that a place cannot be written to."""
    from aa_jax.data import video

    for path in filter(None, (output, gif)):
        video.check_writable(path)


def _write(output, gif, frames, skeletons, reference, fps, *, side_by_side):
    import numpy as np

    from aa_jax.data.pictures import resize
    from aa_jax.data.video import write_gif, write_video

    if side_by_side:
        picture = resize(reference, frames.shape[2], frames.shape[1])
        repeated = np.broadcast_to(picture, frames.shape)
        frames = np.concatenate([repeated, skeletons, frames], axis=2)
    write_video(output, frames, fps)
    if gif:
        write_gif(gif, frames, fps)


def _warn_of_distortion(what: str, aspect: float, width: int, height: int) -> None:
    if abs(aspect * height / width - 1) > 0.05:
        print(
            f"warning: the {what} has aspect ratio {aspect:.2f}, the video {width / height:.2f}, "
            "and is stretched to it; choose --width and --height accordingly",
            file=sys.stderr,
        )


def _asset(name: str) -> Path:
    return Path(str(importlib.resources.files("aa_jax") / "assets" / name))


# --- flags --------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        print(f"error: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
        "--poses",
        metavar="PATH",
        help="keypoints (.npz, OpenPose .json or a folder of them), a folder of skeleton pictures, "
        "or a skeleton video; default: a bundled dance",
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
    add("--frames", type=_count, metavar="N", help="how many poses to use, from the first")
    add("--steps", type=_count, metavar="N", help="DDIM steps; more are slower and finer")
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
    add("--gif", action="store_true", help="write a GIF beside the video too")
    add(
        "--side_by_side",
        action="store_true",
        help="show reference, skeleton and result next to each other",
    )
    return parser


def _underscored(argument: str) -> str:
    """`--guidance-scale=2` as `--guidance_scale=2`: both spellings are accepted."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _video_path(text: str) -> Path:
    from aa_jax.data.video import VideoError, check_suffix

    try:
        check_suffix(text)
    except VideoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def _count(text: str) -> int:
    value = _number(int, text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
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
