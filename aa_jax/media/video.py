"""Videos in, as players show them: upright, with square pixels, in BT.709, at a steady rate.

    open_video   frame by frame, of any length
    read_video   all frames at once
    scan_video   what a video holds, from end to end

All three agree on the rate, on the size, and on what cannot be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from aa_jax.media import showing, streams, timing, wholeness
from aa_jax.media.errors import VideoError, failures, reason
from aa_jax.media.pictures import WHITE, Colour
from aa_jax.media.writing import SUFFIXES, check_suffix, check_writable, write_gif, write_video

if TYPE_CHECKING:
    import av

Frame = UInt8[np.ndarray, "h w 3"]
Frames = UInt8[np.ndarray, "t h w 3"]

__all__ = [
    "SUFFIXES",
    "Frame",
    "Frames",
    "OpenVideo",
    "VideoError",
    "VideoScan",
    "check_suffix",
    "check_writable",
    "open_video",
    "read_video",
    "scan_video",
    "write_gif",
    "write_video",
]


@dataclasses.dataclass(frozen=True)
class VideoScan:
    """What decoding a whole video has found.

    Attributes:
      width, height: pixels of the picture shown: upright, of square pixels.
      rotation: degrees, counter-clockwise, by which stored pictures are turned to stand upright.
      times: seconds at which each frame is shown, from 0 up.
      fps: frames per second; of a variable rate, the usual one.
      variable: whether frames come at a variable rate.
      changes: what is done to the stored pictures to show them, a line each.
    """

    width: int
    height: int
    rotation: int
    times: Float[np.ndarray, " t"]
    fps: float
    variable: bool
    changes: tuple[str, ...] = ()

    @property
    def steady_frames(self) -> Int[np.ndarray, " n"]:
        """The frames that show the video at constant `fps`: all, or of a variable rate those shown
        at the moments 0, 1 / fps, 2 / fps, ..."""
        if not self.variable:
            return np.arange(len(self.times))
        return timing.moments(self.times, self.fps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done to show it at a constant rate, a line each: `changes`, and of its rate."""
        if not self.variable:
            return self.changes
        return *self.changes, f"variable frame rate, brought to {self.fps:.4g} frames per second"


@dataclasses.dataclass(frozen=True)
class OpenVideo:
    """A video being decoded.

    Attributes:
      fps: frames per second; of a variable rate, the usual one.
      count: how many frames `frames` gives.
      frames: RGB frames uint8 [h, w, 3], decoded as they are asked for.
    """

    fps: float
    count: int
    frames: Iterator[Frame]


def read_video(
    path: str | Path,
    max_frames: int | None = None,
    *,
    background: Colour = WHITE,
) -> tuple[Frames, float]:
    """Decodes a video as players show it, at a constant rate.

    Args:
      path: any file FFmpeg can decode, GIF included.
      max_frames: decode at most so many from the start.
      background: RGB, of what is transparent.

    Returns:
      RGB frames uint8 [t, h, w, 3] and frames per second; of a variable rate, the frames shown at
      the usual one, see `VideoScan.steady_frames`.

    Raises:
      VideoError: the file is missing, no readable video, damaged, or without frames.
    """
    with open_video(path, steady=True, background=background) as video:
        return np.stack(list(itertools.islice(video.frames, max_frames))), video.fps


@contextlib.contextmanager
def open_video(
    path: str | Path, *, steady: bool = False, background: Colour = WHITE
) -> Iterator[OpenVideo]:
    """Opens a video of any length to be read frame by frame, as players show it.

    It is decoded once before, by `scan_video`, unless this process has scanned it already.

    Args:
      steady: give the frames that show it at a constant rate, not those stored; they differ where
        the rate is variable.
      background: RGB, of what is transparent.

    Raises:
      VideoError: as `read_video`.
    """
    scan = scan_video(path)
    with _open(path) as (stream, decoded):
        pictures = _shown(Path(path), stream, decoded, background)
        if steady:
            wanted = scan.steady_frames
            yield OpenVideo(scan.fps, len(wanted), _repeated(pictures, np.bincount(wanted)))
        else:
            yield OpenVideo(scan.fps, len(scan.times), pictures)


def scan_video(path: str | Path) -> VideoScan:
    """Decodes a video from end to end and says what it holds; memory stays constant.

    Raises:
      VideoError: as `read_video`.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(f"{path}: no such video") from None
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)})") from None
    return _scan(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=32)
def _scan(path: Path, _: tuple[int, ...]) -> VideoScan:
    """`scan_video`, once per content of a file."""
    times = []
    with _open(path) as (stream, decoded), _naming(path):
        for frame, look in _with_look(stream, decoded):  # noqa: B007 (all have the same look)
            times.append(frame.time)
        stated = [stream.average_rate, stream.base_rate, stream.guessed_rate]
        times = timing.in_order(times, stated)
        rate, variable = timing.steady_rate(times, float(stream.time_base or 0), stated)
        times.flags.writeable = False
        scan = VideoScan(*look.size, look.rotation, times, float(rate), variable, look.changes)
        scan.steady_frames  # noqa: B018 (refuses times that no video can have)
        return scan


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file's name before errors that name none."""
    try:
        yield
    except timing.TimesError as error:
        raise VideoError(f"{path}: {error}") from None
    except VideoError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise VideoError(f"{path}: {error}") from None


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.VideoStream, Iterator[av.VideoFrame]]]:
    """The first stream of pictures that is no cover, and its frames as they are stored."""
    import av

    path = Path(path)
    if path.is_file() and not path.stat().st_size:
        raise VideoError(f"{path}: no video that can be read (0 bytes)")
    try:
        container = av.open(str(path.absolute()))  # a relative `a:b` would be a protocol
    except failures() as error:
        raise VideoError(f"{path}: no video that can be read ({reason(error)})") from None
    with container, _naming(path):
        stream = streams.moving_pictures(container)
        if stream is None:
            raise VideoError(f"{path}: holds no video stream")
        if stream.codec_context is None:
            raise VideoError(f"{path}: is of a codec that cannot be decoded")
        showing.check_size(stream.codec_context.width, stream.codec_context.height)
        yield stream, _decode(path, container, stream)


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    done = 0
    try:
        options = {"max_pixels": str(showing.MAX_PIXELS)}
        for frame in streams.decoded(container, stream, options):
            if frame.is_corrupt:
                raise VideoError(f"{path}: damaged after frame {done}")
            yield frame
            done += 1
    except failures() as error:
        if isinstance(error, VideoError):
            raise
        where = f"damaged after frame {done}" if done else "no video that can be read"
        raise VideoError(f"{path}: {where} ({reason(error)})") from None
    if not done:
        raise VideoError(f"{path}: holds no frames")
    if wholeness.is_cut_off(path, stream):
        raise VideoError(f"{path}: truncated after frame {done}")


def _with_look(
    stream: av.VideoStream, decoded: Iterator[av.VideoFrame]
) -> Iterator[tuple[av.VideoFrame, showing.Look]]:
    """Frames and how all of them are shown, which the first one says."""
    look = None
    for index, frame in enumerate(decoded):
        look = look or showing.look_at(frame, stream.sample_aspect_ratio)
        if (size := (frame.width, frame.height)) != look.stored:
            sizes = "{}x{}) than the first ({}x{}".format(*size, *look.stored)
            raise VideoError(f"frame {index} has another size ({sizes})")
        yield frame, look


def _shown(
    path: Path,
    stream: av.VideoStream,
    decoded: Iterator[av.VideoFrame],
    background: Colour,
) -> Iterator[Frame]:
    with _naming(path):
        for frame, look in _with_look(stream, decoded):
            yield showing.show(frame, look, background)


def _repeated(pictures: Iterator[Frame], times: Int[np.ndarray, " n"]) -> Iterator[Frame]:
    for count, picture in zip(times, pictures, strict=False):
        yield from itertools.repeat(picture, count)
