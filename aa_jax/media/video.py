"""Videos in and out: H.264 through PyAV, GIF through Pillow."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from aa_jax import files

if TYPE_CHECKING:
    import av

Frame = UInt8[np.ndarray, "h w 3"]
Frames = UInt8[np.ndarray, "t h w 3"]

SUFFIXES = (".mp4", ".mov", ".mkv")


class VideoError(ValueError):
    """A video cannot be read or written; the message names the file and the cause."""


@dataclasses.dataclass(frozen=True)
class VideoScan:
    """What decoding a whole video has found.

    Attributes:
      width, height: pixels of the upright picture.
      rotation: degrees, counter-clockwise, by which stored pictures are turned to stand upright.
      times: seconds at which each frame is shown, from 0 up.
      fps: frames per second; of a variable rate, the usual one.
      variable: whether frames come at a variable rate.
    """

    width: int
    height: int
    rotation: int
    times: Float[np.ndarray, " t"]
    fps: float
    variable: bool

    @property
    def steady_frames(self) -> Int[np.ndarray, " n"]:
        """The frames that show the video at constant `fps`: all, or of a variable rate those shown
        at the moments 0, 1 / fps, 2 / fps, ..."""
        if not self.variable:
            return np.arange(len(self.times))
        moments = np.arange(int(self.times[-1] * self.fps + 1e-6) + 1) / self.fps
        return np.searchsorted(self.times, moments + 1e-6, side="right") - 1


def read_video(path: str | Path, max_frames: int | None = None) -> tuple[Frames, float]:
    """Decodes a video, turned upright by its rotation tag.

    Args:
      path: any file FFmpeg can decode, GIF included.
      max_frames: decode at most so many from the start.

    Returns:
      RGB frames uint8 [t, h, w, 3] and frames per second.

    Raises:
      VideoError: the file is missing, no readable video, damaged, or without frames.
    """
    with open_video(path) as video:
        return np.stack(list(itertools.islice(video.frames, max_frames))), video.fps


@dataclasses.dataclass(frozen=True)
class OpenVideo:
    """A video being decoded.

    Attributes:
      fps: frames per second.
      count: how many frames the file says it has; 0 where it does not say.
      frames: RGB frames uint8 [h, w, 3], decoded as they are asked for; raises `VideoError` where
        the file is damaged, and at its end if there was no frame.
    """

    fps: float
    count: int
    frames: Iterator[Frame]


@contextlib.contextmanager
def open_video(path: str | Path) -> Iterator[OpenVideo]:
    """Opens a video of any length to be read frame by frame, turned upright by its rotation tag.

    Raises:
      VideoError: the file is missing, or no readable video.
    """
    with _open(path) as (stream, decoded):
        yield OpenVideo(_nominal_rate(stream), stream.frames, map(_upright, decoded))


def scan_video(path: str | Path) -> VideoScan:
    """Decodes a video from end to end and says what it holds; memory stays constant.

    Raises:
      VideoError: as `read_video`.
    """
    times = []
    with _open(path) as (stream, decoded):
        nominal = _nominal_rate(stream)
        for frame in decoded:
            times.append(frame.time)
    if None in times or np.any(np.diff(times) <= 0):  # raw streams carry no times
        times = np.arange(len(times)) / nominal
    times = np.asarray(times, np.float64) - times[0]
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 1 / nominal
    variable = bool(len(gaps)) and bool(np.abs(gaps - usual).max() > usual / 2)
    measured = 1 / usual if variable or not len(gaps) else len(gaps) / times[-1]
    # Containers round times; the rate they state is the exact one unless it is plainly wrong.
    fps = nominal if not variable and abs(nominal / measured - 1) < 0.02 else measured
    height, width = frame.height, frame.width
    if frame.rotation % 180:
        height, width = width, height
    return VideoScan(width, height, frame.rotation % 360, times, fps, variable)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.VideoStream, Iterator[av.VideoFrame]]]:
    """The first stream of pictures that is no cover, and its frames as they are stored."""
    import av

    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path}: no such video")
    if path.is_file() and not path.stat().st_size:
        raise VideoError(f"{path}: no video that can be read (0 bytes)")
    try:
        container = av.open(str(path.absolute()))  # a relative `a:b` would be a protocol
    except (OSError, ValueError) as error:  # PyAV's errors are either or both
        raise VideoError(f"{path}: no video that can be read ({_reason(error)})") from None
    with container:
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            raise VideoError(f"{path}: holds no video stream")
        streams[0].thread_type = "AUTO"
        yield streams[0], _decode(path, container, streams[0])


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    done, last, longest = 0, 0.0, 1 / _nominal_rate(stream)
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise VideoError(f"{path}: damaged after frame {done}")
            yield frame
            time = frame.time or last
            done, last, longest = done + 1, time, max(longest, time - last)
    except (OSError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        where = f"damaged after frame {done}" if done else "no video that can be read"
        raise VideoError(f"{path}: {where} ({_reason(error)})") from None
    if not done:
        raise VideoError(f"{path}: holds no frames")
    # A file cut off between two frames decodes without complaint; its index (MP4) or head
    # (Matroska) tells what it should have held.
    index_end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    announced = _seconds(stream.metadata.get("DURATION", ""))
    if index_end > path.stat().st_size or announced > last + 1.5 * longest:
        raise VideoError(f"{path}: truncated after frame {done}")


def _seconds(text: str) -> float:
    """Seconds of `00:01:02.5`; 0 for anything else."""
    try:
        hours, minutes, seconds = map(float, text.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


def _nominal_rate(stream: av.VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _upright(frame: av.VideoFrame) -> Frame:
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


def write_video(
    path: str | Path, frames: Iterable[Frame], fps: float, *, keyframe_every: int | None = None
) -> None:
    """Encodes frames as H.264 (yuv420p, plays everywhere), under a temporary name until complete.

    Frames of odd width or height, which yuv420p cannot hold, get their last column or row twice.

    Args:
      path: ends in .mp4, .mov or .mkv.
      frames: at least one; may be a generator, frames are encoded as they come.
      fps: frames per second.
      keyframe_every: write a key frame every so many frames, and none that depends on a later one,
        for quick access to any frame; by default what the encoder finds smallest.

    Raises:
      VideoError: no frames, frames of different sizes, or the file cannot be written.
    """
    import av

    path = Path(path)
    check_suffix(path, SUFFIXES)
    # Whole timestamps need a fraction; 1001 is that of NTSC rates, e.g. 29.97.
    rate = Fraction(fps).limit_denominator(1001)
    first, frames = _peek(path, frames)
    height, width = (side + side % 2 for side in first.shape[:2])
    with _replacing(path) as temporary:
        options = {"movflags": "+faststart"} if path.suffix != ".mkv" else {}
        with av.open(str(temporary), "w", options=options) as container:
            # x264's macroblock tree reads memory nobody wrote: equal frames then give unequal files
            # (seen at 64x64 with AVX-512).
            quality = {"crf": "17", "x264-params": "no-mbtree=1"}
            if keyframe_every:
                quality |= {"g": str(keyframe_every), "bf": "0"}
            stream = container.add_stream("libx264", rate=rate, options=quality)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.colorspace, context.color_range = 1, 1  # BT.709, 16..235: what players expect
            context.color_primaries = context.color_trc = 1
            for frame in frames:
                if frame.shape != first.shape:
                    raise VideoError(f"{path}: frames of sizes {first.shape} and {frame.shape}")
                padding = ((0, height - first.shape[0]), (0, width - first.shape[1]), (0, 0))
                picture = av.VideoFrame.from_ndarray(np.pad(frame, padding, "edge"), "rgb24")
                picture = picture.reformat(
                    format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
                )
                container.mux(stream.encode(picture))
            container.mux(stream.encode())


def write_gif(path: str | Path, frames: Iterable[Frame], fps: float) -> None:
    """Writes an endlessly repeating GIF, under a temporary name until complete.

    Raises:
      VideoError: no frames, or the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    check_suffix(path, (".gif",))
    _, frames = _peek(path, frames)
    pictures = [Image.fromarray(frame) for frame in frames]
    # A GIF counts in hundredths of a second; rounding the times, not the durations, keeps pace.
    times = np.round(np.arange(len(pictures) + 1) * (100 / fps)).astype(int)
    durations = (np.maximum(np.diff(times), 2) * 10).tolist()
    with _replacing(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
        )


def check_suffix(path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raises `VideoError` unless the path ends in one of the suffixes."""
    if Path(path).suffix not in suffixes:
        raise VideoError(f"{path}: must end in {' or '.join(suffixes)}")


def check_writable(path: str | Path) -> None:
    """Raises `VideoError` unless a file can be made at `path`; makes its folder, nothing else."""
    try:
        files.check_writable(Path(path))
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({_reason(error)})") from None


def _peek(path: Path, frames: Iterable[Frame]) -> tuple[Frame, Iterator[Frame]]:
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{path}: there are no frames to write")
    return first, itertools.chain([first], frames)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`files.replacing_file`, whose errors name the video."""
    try:
        with files.replacing_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
