"""Videos come back as they were written, and what cannot be read is named in one line."""

import os

import av
import numpy as np
import pytest
from PIL import Image

from aa_jax.data.video import VideoError, read_video, write_gif, write_video


def moving_picture(frames=12, height=48, width=64):
    """A smooth gradient that drifts: nothing H.264 has to blur."""
    y, x = np.mgrid[0:height, 0:width] / 64
    t = np.arange(frames)[:, None, None] / frames
    channels = [np.cos(2 * y + 3 * t), np.sin(2 * x + y - t), np.cos(x - t)]
    return np.stack([127.5 + 100 * c for c in np.broadcast_arrays(*channels)], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("fps", [8, 24, 29.97])
def test_round_trip(tmp_path, suffix, fps):
    frames = moving_picture()
    path = tmp_path / f"clip{suffix}"
    write_video(path, frames, fps)
    found, found_fps = read_video(path)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8
    assert found_fps == pytest.approx(fps, rel=2e-3)  # Matroska counts whole milliseconds
    # lossy, with half the colour resolution
    assert np.abs(found.astype(int) - frames).mean() < 2.5
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
def test_colours_survive(tmp_path, colour):
    frames = np.full((4, 32, 32, 3), colour, np.uint8)
    write_video(tmp_path / "a.mp4", frames, 24)
    found, _ = read_video(tmp_path / "a.mp4")
    assert np.abs(found.astype(int) - frames).max() <= 3  # 8-bit YUV


def test_plays_everywhere(tmp_path):
    write_video(tmp_path / "a.mp4", iter(moving_picture()), 24)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_are_padded_with_their_edge(tmp_path):
    frames = moving_picture(height=33, width=47)
    write_video(tmp_path / "a.mp4", frames, 24)
    found, _ = read_video(tmp_path / "a.mp4")
    assert found.shape == (12, 34, 48, 3)
    assert np.abs(found[:, :33, :47].astype(int) - frames).mean() < 2.5


def test_reading_stops_early(tmp_path):
    write_video(tmp_path / "a.mp4", moving_picture(), 24)
    assert len(read_video(tmp_path / "a.mp4", max_frames=5)[0]) == 5


def test_gif_keeps_frames_and_pace(tmp_path):
    frames = moving_picture()
    write_gif(tmp_path / "a.gif", frames, 24)
    found, fps = read_video(tmp_path / "a.gif")
    assert found.shape == frames.shape
    assert np.abs(found.astype(int) - frames).mean() < 6  # 256 colours
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0
        durations = []
        for i in range(image.n_frames):
            image.seek(i)
            durations.append(image.info["duration"])
    assert sum(durations) == pytest.approx(12 / 24 * 1000, abs=10)
    assert fps == pytest.approx(24, rel=0.05)


def damaged(tmp_path):
    path = tmp_path / "damaged.mp4"
    write_video(path, moving_picture(), 24)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def sound_only(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def text(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none.mp4", "no such video"),
        (lambda p: p, "no video that can be read"),
        (text, "no video that can be read"),
        (sound_only, "holds no video stream"),
        (damaged, "holds no frames"),
    ],
)
def test_unreadable_videos_are_named(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(VideoError, match=message) as caught:
        read_video(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def failing():
    yield from moving_picture()
    raise RuntimeError("the network failed")


@pytest.mark.parametrize("write", [write_video, write_gif])
def test_failure_leaves_nothing_behind(tmp_path, write):
    path = tmp_path / ("a.mp4" if write is write_video else "a.gif")
    path.write_text("earlier")
    with pytest.raises(RuntimeError, match="the network failed"):
        write(path, failing(), 24)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "earlier"


@pytest.mark.parametrize("write", [write_video, write_gif])
def test_no_frames_are_refused(tmp_path, write):
    path = tmp_path / ("a.mp4" if write is write_video else "a.gif")
    with pytest.raises(VideoError, match="no frames to write"):
        write(path, [], 24)
    assert not list(tmp_path.iterdir())


def test_frames_of_different_sizes_are_refused(tmp_path):
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)]
    with pytest.raises(VideoError, match="frames of sizes"):
        write_video(tmp_path / "a.mp4", frames, 24)
    assert not list(tmp_path.iterdir())


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"a\.avi: must end in \.mp4 or \.mov or \.mkv"):
        write_video(tmp_path / "a.avi", moving_picture(), 24)


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="cannot be written"):
        write_video(tmp_path / "file" / "a.mp4", moving_picture(), 24)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("write", [write_video, write_gif])
def test_full_disk_is_named(tmp_path, write):
    path = tmp_path / ("a.mp4" if write is write_video else "a.gif")
    (tmp_path / f".a.part{path.suffix}").symlink_to("/dev/full")
    with pytest.raises(VideoError, match=r"cannot be written \(No space left"):
        write(path, moving_picture(), 24)
    assert not list(tmp_path.iterdir())
