"""What `sample.py` does: flags to a video."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
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
    """Does what the flags say: a request, its poses, frames of the pipeline, a file of them."""
    start = time.perf_counter()

    def report(line: str) -> None:
        print(f"[{time.perf_counter() - start:5.1f} s] {line}", flush=True)

    if flags.inspect:
        from aa_jax.media.provenance import inspection

        inspection.show(flags.inspect)
        return
    from aa_jax.sampling import marking, result

    given = (flags.reference, flags.poses, flags.driving, flags.reference_poses)
    inputs = [Path(path) for path in given if path]
    fitted = bool(flags.driving or flags.reference_poses)
    paths = result.places(flags.output, gif=flags.gif, inputs=inputs, fitted=fitted)
    signer = marking.signer_of(flags, paths)
    report("loading jax and the weights")
    import jax

    from aa_jax import runtime, weights
    from aa_jax.sampling import long_video, poses, request, resume

    runtime.prepare()
    progress = sys.stderr.isatty()
    asked = request.read(flags)
    skeletons, fps = poses.skeletons_of(asked, paths[0], progress=progress, report=report)
    seconds = len(skeletons) / fps
    report(f"{len(skeletons)} frames, {seconds:.1f} s at {fps:.4g} frames per second")
    long_video.check_feature_cache(len(skeletons), asked.windows, asked.feature_cache_interval)
    state = None
    if len(skeletons) > asked.windows.frames:
        state = resume.state_file(paths[0], asked, skeletons, resume=flags.resume, report=report)
    _, params = weights.load(asked.weights)
    mark = marking.mark_later(asked, beside=flags.side_by_side)
    ingredients = marking.ingredients_of(asked) if signer else ()
    frames = long_video.animate(
        asked.pipeline,
        jax.device_put(params),
        asked.reference,
        skeletons,
        windows=asked.windows,
        state=state,
        feature_cache_interval=asked.feature_cache_interval,
        progress=progress,
        report=report,
        **asked.settings,
    )
    beside = (asked.reference, skeletons) if flags.side_by_side else None
    mark = result.write(paths, frames, fps, beside=beside, mark=mark)
    if state:
        state.remove()
    if flags.driving:
        _add_sound(paths[0], flags.driving, report)
    if signer:
        marking.sign(paths, signer, mark, ingredients, report)
    size = f"{len(skeletons)} frames of {asked.width}x{asked.height} at {fps:g} frames per second"
    report(f"wrote {' and '.join(map(str, paths))}: {size}")


def _add_sound(output: Path, driving: Path, report: Callable[[str], None]) -> None:
    from aa_jax.media.audio import add_audio
    from aa_jax.media.video import VideoError

    try:
        if add_audio(output, driving):
            report(f"added the sound of {driving}")
    except VideoError as error:  # hours of work are not lost for its sound
        report(f"warning: {error}; the video stays silent")
