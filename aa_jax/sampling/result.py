"""The files that a sampled video becomes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from aa_jax.config import ConfigError
from aa_jax.media import video
from aa_jax.media.pictures import resize
from aa_jax.media.provenance.mark import Mark

if TYPE_CHECKING:
    from aa_jax.sampling.pose_features import Skeletons

Frame = UInt8[np.ndarray, "h w 3"]


BESIDE = ("poses.npz", "retargeting.json", "overlay.mp4")
"""Ends of the names of what `aa_jax.sampling.driving` writes beside a video."""


def places(
    output: Path, *, gif: bool, inputs: Iterable[Path] = (), fitted: bool = False
) -> tuple[Path, ...]:
    """The video's path and, where wanted, that of a GIF beside it.

    Args:
      inputs: files that are read, which nothing may take the place of.
      fitted: whether poses are fitted to the reference, so that `BESIDE` is written too.

    Raises:
      ConfigError: one of these would be overwritten.
      VideoError: a place cannot be written to; found out before the work, not after it.
    """
    paths = (output, output.with_suffix(".gif")) if gif else (output,)
    ends = BESIDE if fitted else ()
    written = [*paths, *(output.with_name(f"{output.stem}.{end}") for end in ends)]
    for read in inputs:
        if any(place.exists() and read.exists() and place.samefile(read) for place in written):
            raise ConfigError(f"--output {output}: would overwrite {read}; choose another name")
    for path in paths:
        video.check_writable(path)
    return paths


def write(
    paths: tuple[Path, ...],
    chunks: Iterable[UInt8[np.ndarray, "some h w 3"]],
    fps: float,
    *,
    beside: tuple[Frame, Skeletons] | None = None,
    mark: Callable[[], Mark],
) -> Mark:
    """Writes frames as they come; a GIF needs all of them at once.

    Args:
      paths: of `places`.
      chunks: of frames, in order.
      fps: frames per second.
      beside: reference picture and skeletons, to be shown left of every frame; None: frames alone.
      mark: what the files say of their origin; asked for when the first frame is there.

    Returns:
      The mark.
    """
    frames = (frame for chunk in chunks for frame in chunk)
    if beside:
        frames = _side_by_side(*beside, frames)
    frames = iter(frames)
    first = list(itertools.islice(frames, 1))
    said = mark()
    frames = itertools.chain(first, frames)
    if len(paths) > 1:
        frames = list(frames)
    video.write_video(paths[0], frames, fps, mark=said)
    for gif in paths[1:]:
        video.write_gif(gif, frames, fps, mark=said)
    return said


def _side_by_side(
    reference: Frame, skeletons: Skeletons, frames: Iterable[Frame]
) -> Iterator[Frame]:
    height, width = skeletons.shape[1:3]
    picture = resize(reference, width, height)
    for i, frame in enumerate(frames):
        yield np.concatenate([picture, skeletons[i : i + 1][0], frame], axis=1)
