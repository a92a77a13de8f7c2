"""Videos in and out: H.264 through PyAV, GIF through Pillow."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

Frame = UInt8[np.ndarray, "h w 3"]
Frames = UInt8[np.ndarray, "t h w 3"]

SUFFIXES = (".mp4", ".mov", ".mkv")


class VideoError(ValueError):
    """A video cannot be read or written; the message names the file and the cause."""


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
    import av

    if not Path(path).exists():
        raise VideoError(f"{path}: no such video")
    frames = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            for frame in itertools.islice(container.decode(stream), max_frames):
                turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                frames.append(turned)
    except (OSError, ValueError) as error:  # PyAV's errors are either or both
        if isinstance(error, VideoError):
            raise
        where = f"damaged after frame {len(frames)}" if frames else "no video that can be read"
        raise VideoError(f"{path}: {where} ({_reason(error)})") from None
    if not frames:
        raise VideoError(f"{path}: holds no frames")
    return np.stack(frames), fps if fps > 0 else 25.0


def write_video(path: str | Path, frames: Iterable[Frame], fps: float) -> None:
    """Encodes frames as H.264 (yuv420p, plays everywhere), under a temporary name until complete.

    Frames of odd width or height, which yuv420p cannot hold, get their last column or row twice.

    Args:
      path: ends in .mp4, .mov or .mkv.
      frames: at least one; may be a generator, frames are encoded as they come.
      fps: frames per second.

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
            stream = container.add_stream("libx264", rate=rate, options={"crf": "17"})
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
    path = Path(path)
    if path.is_dir():
        raise VideoError(f"{path}: cannot be written (is a folder)")
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
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
    """Gives a temporary path that takes `path`'s place if the block ends well."""
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({_reason(error)})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.part{path.suffix}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
