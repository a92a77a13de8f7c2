"""Videos come back as they were written, and what cannot be read is named in one line."""

import os
import subprocess
import sys
import uuid

import av
import numpy as np
import pytest
from PIL import Image
from puppet_videos import encode, rotate, truncate

from aa_jax.media.video import VideoError, read_video, scan_video, write_gif, write_video


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
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])  # all of the header, no pictures
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
def test_full_disk_is_named(tmp_path, write, monkeypatch):
    path = tmp_path / ("a.mp4" if write is write_video else "a.gif")
    monkeypatch.setattr("aa_jax.files.uuid.uuid4", lambda: uuid.UUID(int=0))
    (tmp_path / f".a.00000000.part{path.suffix}").symlink_to("/dev/full")
    with pytest.raises(VideoError, match=r"cannot be written \(No space left"):
        write(path, moving_picture(), 24)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [12, 24, 29.97])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_scan_finds_size_rate_and_times(tmp_path, suffix, fps):
    path = tmp_path / f"a{suffix}"
    write_video(path, moving_picture(), fps)
    scan = scan_video(path)
    assert (scan.width, scan.height, scan.rotation, scan.variable) == (64, 48, 0, False)
    assert scan.fps == pytest.approx(fps, rel=2e-3)
    np.testing.assert_allclose(scan.times, np.arange(12) / fps, atol=1e-3)
    assert scan.steady_frames.tolist() == list(range(12))


def test_a_variable_rate_is_shown_at_its_usual_one(tmp_path):
    """Frames at 0, 40, 80, 200, 240 ms: at 25 per second the third is shown three times."""
    encode(tmp_path / "a.mkv", moving_picture(5), times=[0, 40, 80, 200, 240])
    scan = scan_video(tmp_path / "a.mkv")
    assert scan.variable
    assert scan.fps == pytest.approx(25)
    assert scan.steady_frames.tolist() == [0, 1, 2, 2, 2, 3, 4]


def test_one_frame_is_a_short_video(tmp_path):
    write_video(tmp_path / "a.mp4", moving_picture(1), 24)
    scan = scan_video(tmp_path / "a.mp4")
    assert (len(scan.times), scan.fps, scan.variable) == (1, 24.0, False)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_rotation_tag_turns_picture_and_size(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_video(path, moving_picture(), 24)
    stored, _ = read_video(path)
    rotate(path)
    turned, _ = read_video(path)
    np.testing.assert_array_equal(turned, np.rot90(stored, -1, axes=(1, 2)))
    scan = scan_video(path)
    assert (scan.width, scan.height, scan.rotation) == (48, 64, 270)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_video_is_never_taken_for_a_whole_one(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8)
    write_video(path, noise, 24)
    scan_video(path)
    truncate(path, share)
    with pytest.raises(VideoError, match=r"(truncated|damaged) after frame \d+|holds no frames"):
        scan_video(path)


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
    with pytest.raises(VideoError, match="holds no video stream"):
        scan_video(path)


def test_all_pictures_of_a_sequence_are_read_not_the_one_before_them(tmp_path):
    if ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    pictures = [Image.fromarray(frame) for frame in moving_picture(5)]
    path = tmp_path / "a.avif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=50, quality=95)
    frames, fps = read_video(path)
    assert (len(frames), fps) == (5, 20)
    assert np.abs(frames.astype(int) - moving_picture(5)).mean() < 4


def test_key_frames_come_as_often_as_asked(tmp_path):
    write_video(tmp_path / "a.mp4", moving_picture(24), 24, keyframe_every=8)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0
    assert max(np.diff([*keys, 24])) <= 8
    assert [p.pts for p in packets] == sorted(p.pts for p in packets)  # none waits for a later one


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", moving_picture(), 24)
    (tmp_path / "a.mp4").rename("take: 1 #+.mp4")
    assert len(read_video("take: 1 #+.mp4")[0]) == 12


def test_equal_frames_give_equal_files_whatever_memory_holds(tmp_path):
    code = """
import sys, numpy as np
from aa_jax.media.video import write_video
tiles = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), np.uint8)
frames = tiles.repeat(4, 1).repeat(4, 2)
write_video(sys.argv[1], frames, 12.0)
"""
    files = [tmp_path / f"{byte}.mp4" for byte in ("85", "170")]
    for file in files:  # glibc fills new memory with this byte
        environment = os.environ | {"MALLOC_PERTURB_": file.stem}
        subprocess.run([sys.executable, "-c", code, file], env=environment, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
