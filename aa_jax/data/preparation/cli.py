"""The command line of `prepare.py`: what its flags make happen."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aa_jax import files
from aa_jax.config import ConfigError
from aa_jax.data.preparation.filters import Rules
from aa_jax.data.preparation.flags import parse
from aa_jax.data.preparation.media import MediaSettings

if TYPE_CHECKING:
    from aa_jax.data.preparation.work import Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where preparing failed, 2 for a mistake in the flags."""
    from aa_jax import cli

    arguments = sys.argv[1:] if argv is None else argv
    try:
        flags = parse(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return cli.report_errors(lambda: run(flags))


def run(flags: argparse.Namespace) -> None:
    """Does what the flags say."""
    if not flags.videos and not flags.cache_latents:
        raise ConfigError("--videos is missing; it names the folder of videos")
    if flags.cache_latents and not flags.weights:
        raise ConfigError("--cache-latents needs --weights DIR, whose VAE encodes the frames")
    if flags.videos:
        _prepare(flags)
    if flags.cache_latents:
        _cache_latents(flags)


def _prepare(flags: argparse.Namespace) -> None:
    from aa_jax.data.preparation import report, work
    from aa_jax.data.preparation import run as preparation

    if flags.keypoints_from and not flags.keypoints_from.is_dir():
        raise ConfigError(f"--keypoints-from {flags.keypoints_from}: no such folder")
    _check_poses_flags(flags)
    fields = {name: vars(flags)[name] for name in (f.name for f in dataclasses.fields(Rules))}
    task = work.Task(
        cache=flags.output / "cache",
        keypoints=flags.keypoints_from,
        detector=None if flags.keypoints_from else _detector(flags),
        rules=Rules(**fields),
        media=MediaSettings(
            storage=flags.storage, short_side=flags.short_side, jpeg_quality=flags.jpeg_quality
        ),
        poses_size=flags.poses_size,
        track=flags.person == "tracked",
    )
    outcomes = preparation.prepare(
        preparation.Preparation(
            videos=flags.videos,
            output=flags.output,
            layout=flags.layout,
            task=task,
            workers=flags.workers,
            held_out=flags.held_out,
            test_names=_lines(flags.test_list) if flags.test_list else (),
            drop_clips=flags.drop_clips,
            beam=flags.beam,
        )
    )
    _warn_of_guesses(outcomes)
    output = files.readable(flags.output)
    print(f"{report.summary(outcomes)}; {output}/report.html shows them")


def _check_poses_flags(flags: argparse.Namespace) -> None:
    """Refuses flags that would do nothing."""
    if flags.keypoints_from:
        for name in ("detector", "dwpose", "pose_models", "provider"):
            if vars(flags)[name] is not None:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag} has no effect with --keypoints-from; leave one out")
    elif flags.poses_size:
        raise ConfigError("--poses-size has no effect without --keypoints-from; leave it out")


def _warn_of_guesses(outcomes: Sequence[Outcome]) -> None:
    from aa_jax.pose.reading import NO_CANVAS

    count = sum(any(NO_CANVAS in guess for guess in outcome.guesses) for outcome in outcomes)
    if count:
        print(
            f"warning: keypoints of {count} videos name no canvas and are taken as measured in the "
            "videos' own size; --poses-size WIDTHxHEIGHT gives another, report.html names them",
            file=sys.stderr,
        )


def _detector(flags: argparse.Namespace):
    """Settings of the detector, once it is known to work: not every video should complain."""
    from aa_jax.data.preparation import poses

    cores = os.cpu_count() or 1
    settings = poses.DetectorSettings(
        name=flags.detector or "auto",
        dwpose=flags.dwpose,
        pose_models=flags.pose_models,
        provider=flags.provider or "auto",
        track=flags.person == "tracked",
        threads=max(1, cores // max(flags.workers, 1)),
    )
    detector = poses.open_detector(settings)
    if flags.provider and detector.name != "DWPose":
        raise ConfigError(f"--provider has no effect with {detector.name}, which needs no choice")
    print(f"the pose detector is {detector.name}, on the {detector.device}")
    return settings


def _cache_latents(flags: argparse.Namespace) -> None:
    from aa_jax import runtime, weights
    from aa_jax.data import latent_cache

    runtime.prepare()
    config = weights.load_config(flags.weights)
    size = (flags.width or config.sampling.width, flags.height or config.sampling.height)
    sizes = flags.buckets or [size]
    folder = latent_cache.write(flags.output, flags.weights, sizes, dtype=flags.dtype)
    print(f"latents written to {folder}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError as error:
        raise ConfigError(f"--test-list {path}: cannot be read ({error.strerror})") from None
