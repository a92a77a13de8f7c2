"""The sound of one video given to another.

An encoder needs a lead-in: packets before time 0 that a player decodes and does not play. They
belong to the first samples, which are wrong without them, so they are copied too; MP4 and MOV mark
them by an edit list. Where that is not to be had, the sound is decoded and encoded anew.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from aa_jax import files
from aa_jax.media import streams
from aa_jax.media.errors import VideoError, failures, reason
from aa_jax.media.provenance import embedding
from aa_jax.media.writing import options_of

if TYPE_CHECKING:
    import av

_PICTURES_FIRST = {"video": 0, "audio": 1}

# What players of each container expect in it; FFmpeg writes more than they play.
_HELD = {
    ".mp4": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"}),
    ".mov": frozenset({"aac", "mp3", "mp3float", "ac3", "alac"}),
    ".mkv": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac", "vorbis"}),
}
_LEAD_IN = 0.1
"""Seconds of sound kept before the first picture: more than any codec needs to come right."""

_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")
_BITS_PER_SECOND = 96_000  # of a channel; a frame of AAC holds no more than 6 per sample
_ROUNDED = 0.002
"""Seconds by which a file's clock may round times."""

_GAP = 0.02
"""Seconds by which decoded sound may be early or late before silence fills in or a part is cut."""


def add_audio(video: str | Path, source: str | Path) -> bool:
    """Gives a video the sound of another, cut to its length; its pictures are copied unchanged.

    What the video says of its origin stays with it.

    The sound is copied where the container can hold it; uncompressed sound, and all else, becomes
    AAC, at the nearest rate that AAC has.

    Args:
      video: .mp4, .mov or .mkv; replaced when the new file is complete.
      source: the video whose first audio stream is taken, from its first picture on.

    Returns:
      False, with nothing done, where the source has no sound.

    Raises:
      VideoError: one of the two cannot be read, or the result not be written; the video is as it
        was.
    """
    video, source = Path(video), Path(source)
    try:
        codec, start = _sound_of(source)
        if not codec:
            return False
        if codec in _HELD[video.suffix.lower()]:
            try:
                _write(video, source, start, _copied)
                return True
            except failures():  # times or a form of the codec that this container cannot hold
                pass
        _write(video, source, start, _encoded)
    except failures() as error:
        raise VideoError(
            f"{video}: the sound of {source} cannot be added ({reason(error)})"
        ) from None
    return True


def _sound_of(source: Path) -> tuple[str, float]:
    """The codec of its sound, empty without, and the time of its first picture."""
    import av

    with av.open(str(source.absolute())) as container:  # a relative `a:b` would be a protocol
        if not container.streams.audio:
            return "", 0.0
        heard = container.streams.audio[0].codec_context
        if heard is None:
            raise VideoError("its codec is unknown")
        shown = streams.moving_pictures(container)
        first = next(container.decode(shown), None) if shown else None
        return heard.name, (first and first.time) or 0.0


def _write(video: Path, source: Path, start: float, make) -> None:
    with files.replacing_file(video) as temporary:
        _mux(video, source, temporary, start, make)
        if video.suffix.lower() in embedding.BMFF_SUFFIXES and (xmp := embedding.xmp_of(video)):
            embedding.append_box(temporary, xmp)


def _mux(video: Path, source: Path, output: Path, start: float, make) -> None:
    """Writes pictures and sound in the order of their times."""
    import av

    with (
        av.open(str(video.absolute())) as pictures,
        av.open(str(source.absolute())) as sounds,
        av.open(str(output.absolute()), "w", options=options_of(video)) as result,
    ):
        result.metadata.update(embedding.own_tags(pictures.metadata))
        shown, heard = pictures.streams.video[0], sounds.streams.audio[0]
        end = start + float(pictures.duration or 0) / 1e6
        target = result.add_stream_from_template(shown)
        sound = make(sounds, heard, result, start, end)
        for packet in heapq.merge(_packets(pictures, shown, target), sound, key=_order):
            result.mux(packet)


def _order(packet: av.Packet) -> tuple[float, int]:
    # Matroska's first pictures carry no decoding time.
    time = packet.pts if packet.dts is None else packet.dts
    return float(time * packet.time_base), _PICTURES_FIRST[packet.stream.type]


def _packets(container, stream, target) -> Iterator[av.Packet]:
    for packet in container.demux(stream):
        if packet.pts is not None:  # the last one is an empty flush
            packet.stream = target
            yield packet


def _copied(container, stream, result, start: float, end: float) -> Iterator[av.Packet]:
    """Packets of [start, end) with their lead-in, from time 0 on.

    Raises:
      VideoError: the result cannot say that there is a lead-in.
    """
    packets = _timed(container, stream)
    kept = itertools.dropwhile(
        lambda at: at[1] + at[2] <= (start - _LEAD_IN) * stream.rate, packets
    )
    first = next(kept, None)
    leads_in = first is not None and first[1] < round(start * stream.rate)
    # Matroska marks only the lead-in of which the stream itself says how long it is.
    marked = stream.codec_context.delay > 0 and first is not None and first[1] < 0
    if leads_in and not marked and result.format.name == "matroska":
        raise VideoError("its sound has a lead-in")
    target = result.add_stream_from_template(stream)
    return _shifted(itertools.chain([first] if first else [], kept), target, start, end)


def _shifted(packets, target, start: float, end: float) -> Iterator[av.Packet]:
    rate = target.rate
    for packet, place, length in packets:
        if place >= end * rate:
            return
        # Sound is decoded in the order in which it is heard.
        packet.time_base = Fraction(1, rate)
        packet.pts = packet.dts = place - round(start * rate)
        packet.duration = length
        packet.stream = target
        yield packet


def _timed(container, stream) -> Iterator[tuple[av.Packet, int, int]]:
    """Packets with their first sample's place and their length, in samples.

    Matroska rounds times to milliseconds; places follow from the lengths, as long as they agree.
    """
    rate, expected = stream.rate, -stream.codec_context.delay
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size:  # the last one is an empty flush
            continue
        told = packet.pts * packet.time_base * rate
        place = expected if abs(told - expected) <= _ROUNDED * rate else round(told)
        length = stream.codec_context.frame_size
        if abs(length - packet.duration * packet.time_base * rate) > _ROUNDED * rate:
            length = round(packet.duration * packet.time_base * rate)
        expected = place + length
        yield packet, place, length


def _encoded(container, stream, result, start: float, end: float) -> Iterator[av.Packet]:
    import av

    frames = container.decode(stream)
    first = next(frames, None)
    if first is None:
        raise VideoError("its sound cannot be decoded")
    rates = av.Codec("aac", "w").audio_rates
    higher = [rate for rate in rates if rate >= first.sample_rate]
    rate = min(higher) if higher else max(rates)
    layout = first.layout.name if first.layout.name in _LAYOUTS else "stereo"
    # The default coder of libavcodec 62 spoils the first 60 ms.
    target = result.add_stream("aac", rate=rate, layout=layout, options={"aac_coder": "fast"})
    target.bit_rate = first.layout.nb_channels * min(_BITS_PER_SECOND, 6 * rate)
    return _encode(itertools.chain([first], frames), target, start, end)


def _encode(frames, target, start: float, end: float) -> Iterator[av.Packet]:
    import av

    context = target.codec_context
    rate, done = context.sample_rate, 0
    for samples in _in_place(frames, context.layout.name, rate, start, end):
        frame = av.AudioFrame.from_ndarray(samples, "fltp", context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
        done += samples.shape[1]
        yield from target.encode(frame)
    yield from target.encode(None)


def _in_place(
    frames, layout: str, rate: int, start: float, end: float
) -> Iterator[Float32[np.ndarray, "channels samples"]]:
    """Samples of [start, end) without a gap: silence where there is no sound, cut where it laps."""
    done, length = 0, round((end - start) * rate)
    for frame in _resampled(frames, layout, rate):
        samples = np.ascontiguousarray(frame.to_ndarray(), np.float32)
        place = done if frame.time is None else round((frame.time - start) * rate)
        if abs(place - done) <= _GAP * rate and done:
            place = done
        if place > done:
            silence = min(place, length) - done
            if silence > 0:
                yield np.zeros((len(samples), silence), np.float32)
                done += silence
        samples = samples[:, max(done - place, 0) : max(length - place, 0)]
        if samples.shape[1]:
            yield np.ascontiguousarray(samples)
            done += samples.shape[1]
        if done >= length:
            return


def _resampled(frames, layout: str, rate: int) -> Iterator[av.AudioFrame]:
    """Frames of float samples; sound may change its form on the way."""
    import av

    form, resampler = None, None
    for frame in frames:
        if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
            if resampler:
                yield from resampler.resample(None)
            resampler = av.AudioResampler("fltp", layout, rate)
        yield from resampler.resample(frame)
    if resampler:
        yield from resampler.resample(None)
