"""Videos out: H.264 through PyAV, GIF through Pillow."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from aa_jax import files
from aa_jax.media.errors import VideoError, reason
from aa_jax.media.provenance import embedding
from aa_jax.media.provenance.mark import Mark

Frame = UInt8[np.ndarray, "h w 3"]

SUFFIXES = (".mp4", ".mov", ".mkv")


def write_video(
    path: str | Path,
    frames: Iterable[Frame],
    fps: float,
    *,
    keyframe_every: int | None = None,
    mark: Mark | None = None,
) -> None:
    """Encodes frames as H.264 (yuv420p, plays everywhere), under a temporary name until complete.

    Frames of odd width or height, which yuv420p cannot hold, get their last column or row twice.
    The same frames and mark give the same bytes.

    Args:
      path: ends in .mp4, .mov or .mkv.
      frames: at least one; may be a generator, frames are encoded as they come.
      fps: frames per second.
      keyframe_every: write a key frame every so many frames, and none that depends on a later one,
        for quick access to any frame; by default what the encoder finds smallest.
      mark: what the file says of its origin; None for recordings.

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
        # A relative `12:30.mp4` would be a protocol.
        with av.open(str(temporary.absolute()), "w", options=options_of(path)) as container:
            container.metadata.update(mark.tags if mark else {})
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
        if mark and path.suffix.lower() in embedding.BMFF_SUFFIXES:
            embedding.append_box(temporary, mark.xmp)


def write_gif(
    path: str | Path, frames: Iterable[Frame], fps: float, *, mark: Mark | None = None
) -> None:
    """Writes an endlessly repeating GIF, under a temporary name until complete.

    Args:
      path: ends in .gif.
      frames, fps, mark: as for `write_video`.

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
        if mark:
            marked = embedding.into_gif(temporary.read_bytes(), mark.xmp, mark.text)
            temporary.write_bytes(marked)


def options_of(path: Path) -> dict[str, str]:
    """How FFmpeg writes a container of that suffix."""
    if path.suffix.lower() == ".mkv":
        return {"fflags": "+bitexact"}  # or every file gets random numbers of its own
    # The second keeps tags of all names, not only of those that iTunes knows.
    return {"movflags": "+faststart+use_metadata_tags"}


def check_suffix(path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raises `VideoError` unless the path ends in one of the suffixes."""
    if Path(path).suffix.lower() not in suffixes:
        raise VideoError(f"{path}: must end in {' or '.join(suffixes)}")


def check_writable(path: str | Path) -> None:
    """Raises `VideoError` unless a file can be made at `path`; makes its folder, nothing else."""
    try:
        files.check_writable(Path(path))
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({reason(error)})") from None


def _peek(path: Path, frames: Iterable[Frame]) -> tuple[Frame, Iterator[Frame]]:
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{path}: there are no frames to write")
    return first, itertools.chain([first], frames)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`files.replacing_file`, whose errors name the video."""
    import av

    try:
        with files.replacing_file(path) as temporary:
            yield temporary
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: cannot be written ({reason(error)})") from None
