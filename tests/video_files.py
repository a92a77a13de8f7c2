"""Small videos as people's devices and programs write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {".webm": "libvpx", ".avi": "mpeg4", ".gif": "gif", ".mov": "mjpeg", ".flv": "flv1"}
FORMATS = {"gif": "rgb8", "mjpeg": "yuvj420p", "rawvideo": "yuv420p", "png": "rgba"}
EIGHT = {
    "upright": ((1, 0), (0, 1)),
    "turned left": ((0, -1), (1, 0)),
    "upside down": ((-1, 0), (0, -1)),
    "turned right": ((0, 1), (-1, 0)),
    "mirrored": ((-1, 0), (0, 1)),
    "flipped": ((1, 0), (0, -1)),
    "transposed": ((0, 1), (1, 0)),
    "across": ((0, -1), (-1, 0)),
}
"""The right-angled display matrices: (a, b), (c, d)."""


def numbered(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Frames that say which they are: a bright bar grows by two columns with each."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[:, : 2 * index + 2] = 220
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    """Which of `numbered`'s frames these are."""
    return [round(float((frame[len(frame) // 2, :, 1] > 130).sum()) / 2) - 1 for frame in frames]


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: Fraction | int = 25,
    codec: str = "",
    pixels: str = "",
    times: Sequence[int] | None = None,
    clock: Fraction = Fraction(1, 1000),
    last: int | None = None,
    setup: Callable[[av.VideoStream], object] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encodes frames in any container.

    Args:
      rate: what the encoder is told; the times too, if there are none.
      times: of the frames, in units of `clock`.
      last: how long the last frame is shown, in units of `clock`.
      setup: changes the stream before anything is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = codec or CODECS.get(path.suffix, "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = np.shape(frames[0])[:2]
        stream.pix_fmt = pixels or FORMATS.get(codec, "yuv420p")
        if times is not None:
            stream.codec_context.time_base = clock
        if setup:
            setup(stream)
        packets = []
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[index]), clock
            packets += stream.encode(frame)
        packets += stream.encode()
        if last is not None:
            for packet, gap in zip(packets, [*np.diff(times), last], strict=True):
                packet.duration = int(gap)
        for packet in packets:
            container.mux(packet)
    return path


def encode_sound(
    path: Path,
    codec: str,
    samples: np.ndarray,
    *,
    rate: int = 48000,
    seconds: float = 2.0,
    late: float = 0.0,
    title: str = "",
) -> Path:
    """A video of grey pictures, 25 a second, with mono sound.

    Args:
      samples: float32 [n], from -1 to 1.
      late: seconds by which the pictures begin later than the sound.
      title: of the file and of its sound.
    """
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(CODECS.get(path.suffix, "libx264"), rate=25)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = FORMATS.get(pictures.codec_context.name, "yuv420p")
        sound = container.add_stream(codec, rate=rate, layout="mono")
        if title:
            container.metadata["title"] = title
            sound.metadata.update({"title": title, "handler_name": title})
        packets = []
        for index in range(round(seconds * 25)):
            picture = np.full((64, 64, 3), 100 + index % 50, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = index + round(late * 25), Fraction(1, 25)
            packets += pictures.encode(frame)
        packets += pictures.encode()
        for start in range(0, len(samples), 960):
            part = np.ascontiguousarray(samples[None, start : start + 960], np.float32)
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += sound.encode(frame)
        packets += sound.encode()
        packets = [packet for packet in packets if packet.pts is not None]
        order = {id(p): float((p.pts if p.dts is None else p.dts) * p.time_base) for p in packets}
        for packet in sorted(packets, key=lambda packet: order[id(packet)]):
            container.mux(packet)
    return path


def encode_yuv(
    path: Path,
    values: tuple[int, int, int],
    *,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 64),
    count: int = 2,
    space: int = 2,
    primaries: int = 2,
    transfer: int = 2,
    full: bool = False,
    codec: str = "libx264",
) -> Path:
    """A video of one colour, of given code values and tags (ITU-T H.273)."""
    wide = 2 if "10" in pixels else 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = space, primaries, transfer
        context.color_range = 2 if full else 1
        for _ in range(count):
            frame = av.VideoFrame(*size, pixels)
            for plane, value in zip(frame.planes, values, strict=True):
                shape = (plane.height, plane.line_size // wide)
                plane.update(np.full(shape, value, f"<u{wide}").tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_matrix(path: Path, matrix: Sequence[Sequence[float]]) -> None:
    """Writes a display matrix into an MP4 or MOV, as phones do."""
    (a, b), (c, d) = ((round(x * 65536) for x in row) for row in matrix)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(bytes(data))
