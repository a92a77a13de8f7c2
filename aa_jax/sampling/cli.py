"""What `sample.py` does: flags to a video."""

import argparse
import importlib.resources
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where sampling failed, 2 for a mistake in the flags."""
    from aa_jax import cli
    from aa_jax.sampling.flags import parse

    arguments = sys.argv[1:] if argv is None else argv
    try:
        flags = parse(arguments)
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
    from aa_jax.media.pictures import read_picture
    from aa_jax.sampling import long_video
    from aa_jax.sampling.flags import PRESETS
    from aa_jax.sampling.pipeline import Pipeline, SamplingError
    from aa_jax.sampling.poses import load_skeletons
    from aa_jax.sampling.windows import Windows

    runtime.prepare()
    config = weights.load_config(flags.weights)
    defaults = config.sampling
    width, height = flags.width or defaults.width, flags.height or defaults.height
    preset = PRESETS[flags.preset] if flags.preset else defaults
    sampler, steps = flags.sampler or preset.sampler, flags.steps or preset.steps
    guidance = defaults.guidance_scale if flags.guidance_scale is None else flags.guidance_scale
    windows = Windows.for_weights(
        defaults, config.model, method=flags.window_method, overlap=flags.overlap
    )
    pipeline = Pipeline(
        config.model,
        config.schedule,
        jnp.dtype(flags.dtype),
        jnp.dtype(defaults.reference_dtype) if defaults.reference_dtype else None,
    )
    pipeline.check(height=height, width=width, steps=steps, sampler=sampler)

    reference = read_picture(flags.reference or _asset("reference.png"))
    max_frames = flags.frames or defaults.frames
    poses = _poses(flags, reference, config.skeleton, max_frames, report)
    skeletons, fps, aspect = load_skeletons(
        poses, width=width, height=height, style=config.skeleton, max_frames=max_frames
    )
    if len(skeletons) < (flags.frames or 1):
        raise SamplingError(
            f"{poses}: has {len(skeletons)} frames, --frames asks for {flags.frames}"
        )
    _warn_of_distortion("reference picture", reference.shape[1] / reference.shape[0], width, height)
    _warn_of_distortion("poses", aspect, width, height)

    settings = {
        "steps": steps,
        "guidance_scale": guidance,
        "seed": flags.seed,
        "sampler": sampler,
        "eta": defaults.eta if sampler == "ddim" else 0.0,
    }
    long_video.check_feature_cache(len(skeletons), windows, flags.feature_cache_interval)
    state = None
    if len(skeletons) > windows.frames:
        state = _unfinished(flags, windows, settings, reference, skeletons, report)
    _, params = weights.load(flags.weights)
    frames = long_video.animate(
        pipeline,
        jax.device_put(params),
        reference,
        skeletons,
        windows=windows,
        state=state,
        feature_cache_interval=flags.feature_cache_interval,
        progress=sys.stderr.isatty(),
        report=report,
        **settings,
    )
    _write(output, gif, frames, skeletons, reference, fps, side_by_side=flags.side_by_side)
    if state:
        state.remove()
    if flags.driving:
        _add_sound(output, flags.driving, report)
    written = f"{output} and {gif}" if gif else f"{output}"
    size = f"{len(skeletons)} frames of {width}x{height} at {fps:g} frames per second"
    report(f"wrote {written}: {size}")


def _poses(flags, reference, style, max_frames, report):
    """Where the poses are: given, or made from a driving video or for the reference's body."""
    poses = flags.poses or _asset("poses.npz")
    if not flags.driving and not flags.reference_poses:
        return poses
    from aa_jax.sampling import driving

    options = driving.DrivingOptions(
        person=flags.person,
        smoothing=flags.smoothing,
        retargeting=flags.retargeting,
        anchor=flags.anchor,
    )
    common = {"options": options, "max_frames": max_frames, "report": report}
    if not flags.driving:
        return driving.fit_poses(
            Path(poses), flags.reference_poses, reference, flags.output, **common
        )
    return driving.poses_from_video(
        flags.driving,
        reference,
        flags.output,
        style=style,
        dwpose=flags.dwpose,
        reference_poses=flags.reference_poses,
        progress=sys.stderr.isatty(),
        **common,
    )


def _add_sound(output, driving, report):
    from aa_jax.media.audio import add_audio

    if add_audio(output, driving):
        report(f"added the sound of {driving}")


def _unfinished(flags, windows, settings, reference, skeletons, report):
    """Where the unfinished latents of a long video are kept, under all that they depend on."""
    import dataclasses

    import numpy as np

    from aa_jax import weights
    from aa_jax.sampling.resume import StateFile, digest

    files = sorted(weights.resolve(flags.weights).glob("*.*"))
    settings = {
        "frames": len(skeletons),
        "width": skeletons.shape[2],
        "height": skeletons.shape[1],
        **settings,
        "dtype": flags.dtype,
        **{f"window_{name}": value for name, value in dataclasses.asdict(windows).items()},
        "weights": digest(files),
        "reference": digest([reference]),
        "poses": digest(skeletons[np.array([t])] for t in range(len(skeletons))),
    }
    state = StateFile.beside(flags.output, settings, resume=flags.resume)
    if state.path.exists() and not flags.resume:
        report(f"{flags.output} starts again; --resume would go on where it was interrupted")
    state.load()  # refuses the state of other settings before the work begins
    return state


def _prepare_outputs(output: Path, gif: Path | None) -> None:
    """Finds out before the work, not after it, that a place cannot be written to."""
    from aa_jax.media import video

    for path in filter(None, (output, gif)):
        video.check_writable(path)


def _write(output, gif, frames, skeletons, reference, fps, *, side_by_side):
    """Writes frames, an iterable of chunks, as they come; a GIF needs all of them at once."""
    from aa_jax.media.pictures import resize
    from aa_jax.media.video import write_gif, write_video

    height, width = skeletons.shape[1:3]
    picture = resize(reference, width, height)
    pictures = (frame for chunk in frames for frame in chunk)
    if side_by_side:
        pictures = _beside(picture, skeletons, pictures)
    if gif:
        pictures = list(pictures)
    write_video(output, pictures, fps)
    if gif:
        write_gif(gif, pictures, fps)


def _beside(picture, skeletons, frames):
    """Every frame to the right of the reference picture and its skeleton."""
    import numpy as np

    for i, frame in enumerate(frames):
        yield np.concatenate([picture, skeletons[i : i + 1][0], frame], axis=1)


def _warn_of_distortion(what: str, aspect: float, width: int, height: int) -> None:
    if abs(aspect * height / width - 1) > 0.05:
        print(
            f"warning: the {what} has aspect ratio {aspect:.2f}, the video {width / height:.2f}, "
            "and is stretched to it; choose --width and --height accordingly",
            file=sys.stderr,
        )


def _asset(name: str) -> Path:
    return Path(str(importlib.resources.files("aa_jax") / "assets" / name))
