"""A video gets the sound of another, whatever codec it is in, and no longer than itself."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import encode_sound

from aa_jax.media.audio import add_audio
from aa_jax.media.video import VideoError, read_video, write_video

RATE = 16000


def write_tone(path, seconds, codec, *, fps=10):
    """A video of grey frames with a rising tone."""
    t = np.arange(round(seconds * RATE)) / RATE
    samples = (8000 * np.sin(2 * np.pi * (300 + 200 * t) * t)).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream(codec, rate=RATE, layout="mono")
        for _ in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def read_sound(path):
    """Codec and samples, -1 to 1, of the sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", RATE)
        frames = [f for frame in container.decode(stream) for f in resampler.resample(frame)]
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return stream.codec_context.name, samples


@pytest.mark.parametrize(
    ("source", "codec", "target", "kept"),
    [
        ("a.mp4", "aac", "b.mp4", "aac"),
        ("a.mov", "pcm_s16le", "b.mp4", "aac"),
        ("a.mov", "pcm_s16le", "b.mkv", "aac"),
        ("a.mkv", "flac", "b.mkv", "flac"),
        ("a.mkv", "aac", "b.mov", "aac"),
    ],
)
def test_sound_of_another_video(tmp_path, source, codec, target, kept):
    write_tone(tmp_path / source, 3.0, codec)
    frames = np.random.default_rng(0).integers(0, 255, (20, 32, 48, 3), dtype=np.uint8)
    write_video(tmp_path / target, frames, 10)
    pictures, fps = read_video(tmp_path / target)

    assert add_audio(tmp_path / target, tmp_path / source)

    codec, samples = read_sound(tmp_path / target)
    assert codec == kept
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.15)  # not the source's three seconds
    _, original = read_sound(tmp_path / source)
    shifts = [
        np.corrcoef(samples[4000:9000], original[s : s + 5000])[0, 1] for s in range(2500, 5500)
    ]
    assert max(shifts) > 0.95
    assert abs(int(np.argmax(shifts)) + 2500 - 4000) < 0.1 * RATE  # in time with the pictures
    after, fps_after = read_video(tmp_path / target)
    np.testing.assert_array_equal(after, pictures)
    assert fps_after == pytest.approx(fps, rel=2e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source, target])


def test_source_without_sound(tmp_path):
    for name in ("silent.mp4", "b.mp4"):
        write_video(tmp_path / name, np.zeros((4, 32, 32, 3), np.uint8), 10)
    before = (tmp_path / "b.mp4").read_bytes()

    assert not add_audio(tmp_path / "b.mp4", tmp_path / "silent.mp4")

    assert (tmp_path / "b.mp4").read_bytes() == before


def test_source_that_cannot_be_read(tmp_path):
    write_video(tmp_path / "b.mp4", np.zeros((4, 32, 32, 3), np.uint8), 10)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    before = (tmp_path / "b.mp4").read_bytes()

    with pytest.raises(VideoError, match=r"b\.mp4: the sound of .*broken\.mp4 cannot be added"):
        add_audio(tmp_path / "b.mp4", tmp_path / "broken.mp4")

    assert (tmp_path / "b.mp4").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


FULL = 48000


def chirp(rate=FULL, seconds=2.0):
    """A rising tone: every part of it sounds unlike all others."""
    t = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * (300 + 400 * t) * t)


def heard(path, at, seconds=0.02):
    """Sound of a video from a moment after its first picture on, mono, 48,000 a second."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler("fltp", "mono", FULL)
        parts = [part for frame in [*frames, None] for part in resampler.resample(frame)]
    samples = np.concatenate([part.to_ndarray()[0] for part in parts])
    start = round((at + first - frames[0].time) * FULL)
    return samples[start : start + round(seconds * FULL)]


def lag(path, at, expected):
    """Milliseconds by which a video's sound at a moment is behind what is expected, and likeness.

    The best of all shifts of up to 4 ms, compared over 30 ms.
    """
    span, most = round(0.03 * FULL), round(0.004 * FULL)
    start = round(at * FULL)
    found = heard(path, at, 0.03)
    best = (-1.0, 0)
    for shift in range(-most, most + 1):
        low, high = max(0, -shift, -start), min(span, span - max(0, shift))
        part, wanted = found[low:high], expected[start + low - shift : start + high - shift]
        if start + low < shift or len(part) != len(wanted):
            continue
        size = np.linalg.norm(part) * np.linalg.norm(wanted)
        best = max(best, (float(part @ wanted / size) if size else 0.0, shift))
    return best[1] / FULL * 1000, best[0]


SOURCES = [
    ("a.mp4", "aac"),
    ("a.mkv", "aac"),
    ("a.ts", "aac"),
    ("a.flv", "aac"),
    ("a.webm", "libopus"),
    ("a.mkv", "libopus"),
    ("a.mp4", "libmp3lame"),
    ("a.mp4", "ac3"),
    ("a.mkv", "flac"),
    ("a.mov", "pcm_s16le"),
]


@pytest.mark.parametrize("target", ["b.mp4", "b.mov", "b.mkv"])
@pytest.mark.parametrize(("name", "codec"), SOURCES)
def test_sound_begins_right(tmp_path, name, codec, target):
    """From the first sample on: encoders' lead-in is neither cut off nor played."""
    expected = chirp()
    encode_sound(tmp_path / name, codec, expected)
    write_video(tmp_path / target, np.zeros((25, 32, 32, 3), np.uint8), 25)

    assert add_audio(tmp_path / target, tmp_path / name)

    for at in (0.005, 0.1, 0.7):
        late, likeness = lag(tmp_path / target, at, expected)
        assert abs(late) < 1, (at, late)
        assert likeness > 0.98, (at, likeness)
    with av.open(str(tmp_path / target)) as container:
        assert next(container.decode(video=0)).time == 0


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "libopus")])
def test_sound_of_pictures_that_begin_late(tmp_path, name, codec, target):
    """What is heard with a source's first picture is heard with the result's."""
    expected = chirp(seconds=2.5)
    encode_sound(tmp_path / name, codec, expected, late=0.48)
    write_video(tmp_path / target, np.zeros((25, 32, 32, 3), np.uint8), 25)

    assert add_audio(tmp_path / target, tmp_path / name)

    for at in (0.005, 0.5):
        late, likeness = lag(tmp_path / target, at, expected[round(0.48 * FULL) :])
        assert abs(late) < 1, (at, late)
        assert likeness > 0.98, (at, likeness)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "target", "kept"),
    [
        ("a.webm", "libopus", 48000, "b.mov", "aac"),  # MOV has no Opus
        ("a.webm", "libopus", 48000, "b.mp4", "opus"),
        ("a.mkv", "flac", 48000, "b.mov", "aac"),
        ("a.avi", "pcm_u8", 11024, "b.mp4", "aac"),  # AAC has no such rate
        ("a.avi", "pcm_s16le", 6000, "b.mov", "aac"),
        ("a.mov", "pcm_s16le", 192000, "b.mkv", "aac"),
        ("a.mov", "pcm_mulaw", 8000, "b.mp4", "aac"),
    ],
)
def test_what_the_container_cannot_hold_becomes_aac(tmp_path, name, codec, rate, target, kept):
    encode_sound(tmp_path / name, codec, chirp(rate), rate=rate)
    write_video(tmp_path / target, np.zeros((25, 32, 32, 3), np.uint8), 25)

    assert add_audio(tmp_path / target, tmp_path / name)

    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.name == kept
    late, likeness = lag(tmp_path / target, 0.3, chirp())
    assert abs(late) < 1
    assert likeness > 0.95


def test_sound_in_a_file_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode_sound(tmp_path / "a.mp4", "aac", chirp())
    (tmp_path / "a.mp4").rename("take: 1.mp4")
    write_video("12:30.mp4", np.zeros((25, 32, 32, 3), np.uint8), 25)
    assert add_audio("12:30.mp4", "take: 1.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12:30.mp4", "take: 1.mp4"]


def test_a_missing_part_of_the_sound_is_silence(tmp_path):
    """A call's recording without packets from 0.5 to 1 s: what follows is in time."""
    source, target = encode_sound(tmp_path / "a.mkv", "pcm_s16le", chirp()), tmp_path / "b.mp4"
    with av.open(str(source)) as whole, av.open(str(tmp_path / "c.mkv"), "w") as part:
        streams = [part.add_stream_from_template(stream) for stream in whole.streams]
        for packet in whole.demux():
            time = None if packet.pts is None else packet.pts * packet.time_base
            if time is None or (packet.stream.type == "audio" and 0.5 <= time < 1):
                continue
            packet.stream = streams[packet.stream.index]
            part.mux(packet)
    write_video(target, np.zeros((45, 32, 32, 3), np.uint8), 25)
    assert add_audio(target, tmp_path / "c.mkv")
    assert np.abs(heard(target, 0.6, 0.3)).max() < 0.02
    late, likeness = lag(target, 1.2, chirp())
    assert abs(late) < 1
    assert likeness > 0.98
