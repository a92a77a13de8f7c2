"""The rate, the times and the end of a video, by whatever container and program it was written."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from video_files import encode, numbered, numbers

from aa_jax.media.video import VideoError, open_video, read_video, scan_video

NTSC = 30000 / 1001
STEADY = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".gif")


def everywhere(path):
    """Rate and frames, on which all readers agree."""
    scan = scan_video(path)
    with open_video(path) as stored:
        assert stored.fps == scan.fps
        pictures = list(stored.frames)
        assert len(pictures) == stored.count == len(scan.times)
    frames, fps = read_video(path)
    assert fps == scan.fps
    with open_video(path, steady=True) as shown:
        assert shown.fps == scan.fps
        assert shown.count == len(frames)
        np.testing.assert_array_equal(list(shown.frames), frames)
    np.testing.assert_array_equal(frames, np.array(pictures)[scan.steady_frames])
    return fps, numbers(frames)


@pytest.mark.parametrize("suffix", STEADY)
@pytest.mark.parametrize("rate", [25, 12])
def test_a_steady_rate_in_any_container(tmp_path, suffix, rate):
    path = encode(tmp_path / f"a{suffix}", numbered(14), rate=rate)
    assert everywhere(path) == (rate, list(range(14)))
    assert not scan_video(path).variable


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
def test_ntsc_rates_are_exact(tmp_path, suffix):
    path = encode(tmp_path / f"a{suffix}", numbered(24), rate=Fraction(30000, 1001))
    assert everywhere(path) == (NTSC, list(range(24)))


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
def test_a_browsers_recording_states_no_rate(tmp_path, suffix):
    """Frames 31 to 35 ms apart in a file that claims 1000 a second."""
    jitter = np.random.default_rng(0).integers(-2, 3, 23)
    times = np.cumsum([0, *(33 + jitter)])
    path = encode(tmp_path / f"a{suffix}", numbered(24), rate=1000, times=times)
    assert everywhere(path) == (30, list(range(24)))
    assert not scan_video(path).variable


def write_gif(path, delays):
    first, *rest = (Image.fromarray(frame) for frame in numbered(len(delays)))
    first.save(path, save_all=True, append_images=rest, duration=delays, loop=0)
    return path


@pytest.mark.parametrize("held", [40, 2000])
def test_a_gif_whose_last_picture_is_held(tmp_path, held):
    path = write_gif(tmp_path / "a.gif", [40] * 11 + [held])
    assert everywhere(path) == (25, list(range(12)))


def test_a_gif_of_40_and_50_ms(tmp_path):
    fps, found = everywhere(write_gif(tmp_path / "a.gif", [40, 50] * 6))
    assert (fps, found) == (pytest.approx(200 / 9, rel=0.01), list(range(12)))


def test_a_gif_of_one_picture(tmp_path):
    fps, found = everywhere(write_gif(tmp_path / "a.gif", [100]))
    assert (1 <= fps <= 100, found) == (True, [0])


@pytest.mark.parametrize("suffix", [".h264", ".m4v", ".ivf"])
def test_streams_without_a_container(tmp_path, suffix):
    codec = {".h264": "libx264", ".m4v": "mpeg4", ".ivf": "libvpx"}[suffix]
    path = encode(tmp_path / f"a{suffix}", numbered(10), codec=codec)
    assert everywhere(path) == (25, list(range(10)))


PAUSE = [*range(5), *range(17, 22)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".flv", ".ts"])
def test_a_pause_is_shown_as_long_as_it_lasts(tmp_path, suffix):
    """MP4 says 0.4 s of a video whose last frame is at 0.84; MPEG-TS starts two frames late."""
    path = encode(tmp_path / f"a{suffix}", numbered(10), times=PAUSE, clock=Fraction(1, 25))
    scan = scan_video(path)
    assert scan.variable
    np.testing.assert_allclose(scan.times, np.array(PAUSE) / 25, atol=1e-3)
    assert everywhere(path) == (25, [*range(4), *[4] * 13, *range(5, 10)])


def test_avi_tells_times_in_the_order_of_decoding(tmp_path):
    """Its frames with B-frames between them are shown in their order, by sorted times."""
    options = {"bf": "3", "x264-params": "b-adapt=0"}
    path = encode(tmp_path / "a.avi", numbered(10), codec="libx264", options=options)
    assert everywhere(path) == (25, list(range(10)))
    times = {"times": PAUSE, "clock": Fraction(1, 25)}
    path = encode(tmp_path / "b.avi", numbered(10), codec="libx264", options=options, **times)
    fps, found = everywhere(path)
    assert (fps, len(found)) == (25, 22)
    assert found == sorted(found)
    assert set(found) == set(range(10))


def test_times_that_jump_back_are_named(tmp_path):
    """Two recordings put behind each other byte by byte."""
    once = encode(tmp_path / "once.ts", numbered(30)).read_bytes()
    (tmp_path / "twice.ts").write_bytes(once + once)
    with pytest.raises(VideoError, match=r"twice\.ts: its times jump back by .* after frame 30"):
        read_video(tmp_path / "twice.ts")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("last", [40, 1500, 60_000])
def test_a_held_last_frame_is_no_truncation(tmp_path, suffix, last):
    path = tmp_path / f"held{suffix}"
    encode(path, numbered(12), times=np.arange(12) * 40, last=last, options={"bf": "0"})
    assert everywhere(path) == (25, list(range(12)))


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".avi"])
def test_what_is_cut_off_is_named(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    options = {"movflags": "frag_keyframe+empty_moov", "g": "5"} if suffix == ".mp4" else {}
    path = encode(tmp_path / f"a{suffix}", noise, options=options)
    scan_video(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = r"(truncated|damaged) after frame \d+|holds no frames|no video that can be read"
    with pytest.raises(VideoError, match=message):
        scan_video(path)


def test_a_file_changed_meanwhile_is_scanned_again(tmp_path):
    path = encode(tmp_path / "a.mkv", numbered(5))
    assert len(scan_video(path).times) == 5
    encode(path, numbered(7))
    assert len(scan_video(path).times) == 7


@pytest.mark.parametrize("name", ["12:30.mp4", "file:a.mkv", "-a.mov", "a b.mp4", "%03d.mp4"])
def test_names_that_mean_something_to_ffmpeg(tmp_path, monkeypatch, name):
    from aa_jax.media.video import check_suffix, check_writable, write_video

    monkeypatch.chdir(tmp_path)
    check_suffix(name)
    check_writable(name)
    write_video(name, numbered(4), 25)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert everywhere(name) == (25, [0, 1, 2, 3])


def test_names_that_are_no_utf_8_and_long_ones(tmp_path):
    from aa_jax.media.video import write_video

    for name in ("caf\udce9.mp4", "x" * 250 + ".MP4"):
        write_video(tmp_path / name, numbered(4), 25)
        assert everywhere(tmp_path / name) == (25, [0, 1, 2, 3])
    with pytest.raises(VideoError, match="cannot be read"):
        read_video(tmp_path / ("x" * 300 + ".mp4"))
