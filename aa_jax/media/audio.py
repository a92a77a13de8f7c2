"""The sound of one video given to another."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aa_jax import files
from aa_jax.media.errors import VideoError

if TYPE_CHECKING:
    import av

_PICTURES_FIRST = {"video": 0, "audio": 1}


def add_audio(video: str | Path, source: str | Path) -> bool:
    """Gives a video the sound of another, cut to its length; its pictures are copied unchanged.

    The sound is copied too; uncompressed sound, and what the container cannot hold, becomes AAC.

    Args:
      video: .mp4, .mov or .mkv; replaced when the new file is complete.
      source: the video whose first audio stream is taken.

    Returns:
      False, with nothing done, where the source has no sound.

    Raises:
      VideoError: one of the two cannot be read, or the result not be written.
    """
    import av

    video, source = Path(video), Path(source)
    options = {"movflags": "+faststart"} if video.suffix != ".mkv" else {}
    try:
        with av.open(str(video.absolute())) as pictures, av.open(str(source.absolute())) as sounds:
            if not sounds.streams.audio:
                return False
            with (
                files.replacing_file(video) as temporary,
                av.open(str(temporary.absolute()), "w", options=options) as result,
            ):
                for packet in _interleaved(pictures, sounds, result):
                    result.mux(packet)
    except (OSError, ValueError) as error:  # PyAV's errors are either or both
        reason = " ".join(str(error).split())
        raise VideoError(f"{video}: the sound of {source} cannot be added ({reason})") from None
    return True


def _interleaved(
    pictures: av.container.InputContainer,
    sounds: av.container.InputContainer,
    result: av.container.OutputContainer,
) -> Iterator[av.Packet]:
    """Packets of both in the order of their times, for the streams they make in the result."""
    shown, heard = pictures.streams.video[0], sounds.streams.audio[0]
    seconds = float(pictures.duration or 0) / 1e6
    start = 0.0  # of the source's pictures, which the result shows from 0 on
    if sounds.streams.video:
        stream = sounds.streams.video[0]
        start = float((stream.start_time or 0) * stream.time_base)
    video_stream = result.add_stream_from_template(shown)
    codec = heard.codec_context.name
    if codec in result.supported_codecs and not codec.startswith("pcm"):
        audio_stream = result.add_stream_from_template(heard)
        sound = _copied(sounds, heard, audio_stream, start, start + seconds)
    else:
        audio_stream = result.add_stream("aac", rate=heard.rate)
        sound = _encoded(sounds, heard, audio_stream, start, start + seconds)
    return heapq.merge(_packets(pictures, shown, video_stream), sound, key=_order)


def _order(packet: av.Packet) -> tuple[float, int]:
    # Matroska's first pictures carry no decoding time.
    time = packet.pts if packet.dts is None else packet.dts
    return float(time * packet.time_base), _PICTURES_FIRST[packet.stream.type]


def _packets(container, stream, target) -> Iterator[av.Packet]:
    for packet in container.demux(stream):
        if packet.pts is not None:  # the last one is an empty flush
            packet.stream = target
            yield packet


def _copied(container, stream, target, start: float, end: float) -> Iterator[av.Packet]:
    shift = round(start / stream.time_base)
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None or packet.pts < shift:
            continue
        if packet.pts * stream.time_base >= end:
            return
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = target
        yield packet


def _encoded(container, stream, target, start: float, end: float) -> Iterator[av.Packet]:
    for frame in container.decode(stream):
        if frame.time is None or frame.time < start:
            continue
        if frame.time >= end:
            break
        frame.pts -= round(start / frame.time_base)
        yield from target.encode(frame)
    yield from target.encode(None)
