"""A video gets the sound of another, whatever codec it is in, and no longer than itself."""

from fractions import Fraction

import av
import numpy as np
import pytest

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
