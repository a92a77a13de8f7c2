"""Which stream of a file is its moving pictures, and its frames as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the transparency of Matroska and WebM, which FFmpeg's own pass over."""


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of pictures that is no cover; None where there is none.

    A single picture beside others is no more than a cover, whatever the file says: an AVIF
    sequence begins with one.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    moving = (stream for stream in streams if stream.frames != 1)
    return next(moving, streams[0] if streams else None)


def decoded(
    container: av.container.InputContainer, stream: av.VideoStream, options: dict[str, str]
) -> Iterator[av.VideoFrame]:
    """Frames of a stream in the order in which they are shown, transparency included.

    Args:
      options: of the decoder.

    Raises:
      av.FFmpegError: the file is damaged.
    """
    import av

    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if not name or stream.metadata.get("alpha_mode") != "1":
        stream.thread_type = "AUTO"
        stream.codec_context.options = options
        yield from container.decode(stream)
        return
    context = av.CodecContext.create(name, "r")
    context.options = options
    for packet in container.demux(stream):  # the last one is an empty flush
        yield from context.decode(packet if packet.size else None)
