"""Videos are read as players show them: turned, mirrored, with square pixels, in BT.709."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import EIGHT, encode, encode_yuv, numbered, set_matrix

from aa_jax.media import tonemapping
from aa_jax.media.video import VideoError, open_video, read_video, scan_video

# What a stored picture looks like under each matrix.
SHOWN = {
    "upright": lambda p: p,
    "turned left": lambda p: np.rot90(p, 1),
    "upside down": lambda p: np.rot90(p, 2),
    "turned right": lambda p: np.rot90(p, -1),
    "mirrored": np.fliplr,
    "flipped": np.flipud,
    "transposed": lambda p: p.transpose(1, 0, 2),
    "across": lambda p: np.rot90(p, 2).transpose(1, 0, 2),
}


def corner_picture():
    picture = np.full((48, 80, 3), 60, np.uint8)
    picture[4:16, 4:28] = (20, 220, 40)
    return picture


@pytest.mark.parametrize("name", EIGHT)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_all_eight_display_matrices(tmp_path, name, suffix):
    """The matrix (a, b), (c, d) shows stored (x, y) at (a x + c y, b x + d y), as tkhd has it."""
    path = encode(tmp_path / f"a{suffix}", [corner_picture()] * 3, rate=10)
    stored, _ = read_video(path)
    set_matrix(path, EIGHT[name])
    found, _ = read_video(path)
    np.testing.assert_array_equal(found[0], SHOWN[name](stored[0]))
    scan = scan_video(path)
    assert (scan.height, scan.width) == found.shape[1:3]
    told = " ".join(scan.changes)
    (a, b), (c, d) = EIGHT[name]
    assert ("mirrored" in told) == (a * d - b * c < 0)
    assert (name == "upright") == (told == "")


def test_a_matrix_that_scales_as_well_turns_all_the_same(tmp_path):
    path = encode(tmp_path / "a.mp4", [corner_picture()], rate=10)
    stored, _ = read_video(path)
    set_matrix(path, ((0, 0.5), (-0.5, 0)))
    np.testing.assert_array_equal(read_video(path)[0][0], np.rot90(stored[0], -1))


def pixels_of(aspect):
    def setup(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    return setup


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
@pytest.mark.parametrize(
    ("aspect", "size"), [((2, 1), (128, 48)), ((1, 2), (64, 96)), ((4, 3), (85, 48))]
)
def test_pixels_become_square_by_growing_one_side(tmp_path, suffix, aspect, size):
    setup = pixels_of(Fraction(*aspect))
    path = encode(tmp_path / f"a{suffix}", numbered(3), rate=10, codec="mpeg4", setup=setup)
    frames, _ = read_video(path)
    assert frames.shape[2:0:-1] == size
    scan = scan_video(path)
    assert (scan.width, scan.height) == size
    assert scan.changes == (f"pixels made square: 64x48 shown as {size[0]}x{size[1]}",)


def test_pixels_are_stretched_before_the_picture_is_turned(tmp_path):
    setup = pixels_of(Fraction(2, 1))
    path = encode(tmp_path / "a.mp4", [corner_picture()] * 2, rate=10, setup=setup)
    set_matrix(path, EIGHT["turned right"])
    frames, _ = read_video(path)
    assert frames.shape[1:3] == (160, 48)
    y, x = np.argwhere(frames[0, :, :, 1] > 150).mean(0)
    assert (x, y) == (pytest.approx(48 - 1 - 9.5, abs=1), pytest.approx(31.5, abs=1))


def test_senseless_pixels_are_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(2), rate=10, setup=pixels_of(Fraction(2, 1)))
    data = path.read_bytes()
    place = data.index(b"pasp") + 4
    path.write_bytes(data[:place] + (60000).to_bytes(4, "big") + data[place + 4 :])
    with pytest.raises(VideoError, match=r"a\.mp4: pictures of \d+x48 pixels are too large"):
        read_video(path)


def centre(path):
    frames, _ = read_video(path)
    return frames[0, 32, 32].tolist()


RED_709, RED_601 = (63, 102, 240), (82, 90, 240)  # of code values 16 to 235


@pytest.mark.parametrize(
    ("values", "tags", "size"),
    [
        (RED_709, {"space": 1}, (64, 64)),
        (RED_601, {"space": 6}, (64, 64)),
        (RED_601, {"space": 5}, (1280, 720)),
        (RED_601, {}, (720, 576)),  # untagged: by size
        (RED_709, {}, (1280, 720)),
        (RED_709, {}, (608, 1080)),
    ],
)
def test_the_colour_matrix_is_that_of_the_tag_or_the_size(tmp_path, values, tags, size):
    found = centre(encode_yuv(tmp_path / "a.mp4", values, size=size, **tags))
    np.testing.assert_allclose(found, [255, 0, 0], atol=3)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("full", [False, True])
def test_white_and_black_of_both_ranges(tmp_path, pixels, full):
    scale = 4 if "10" in pixels else 1
    top, bottom = (255, 0) if full else (235, 16)
    for value, expected in ((top, 255), (bottom, 0)):
        values = (value * scale, 128 * scale, 128 * scale)
        path = tmp_path / f"{value}.mkv"
        encode_yuv(path, values, pixels=pixels, space=1, full=full)
        np.testing.assert_allclose(centre(path), expected, atol=1)


@pytest.mark.parametrize(
    ("transfer", "signal", "expected"),
    [
        # ITU-R BT.2408: white paper and a grey card of 18 %, which SDR has at 42.5 %.
        (18, 0.75, 251),
        (18, 0.38, 108),
        (16, 0.58, 251),
        (16, 0.38, 108),
        (18, 1.0, 255),
        (16, 1.0, 255),
        (18, 0.0, 0),
        (16, 0.0, 0),
    ],
)
@pytest.mark.parametrize("primaries", [9, 2])
def test_hdr_is_tone_mapped(tmp_path, transfer, signal, expected, primaries):
    values = (round(64 + 876 * signal), 512, 512)
    path = encode_yuv(
        tmp_path / "a.mp4",
        values,
        pixels="yuv420p10le",
        space=9,
        primaries=primaries,
        transfer=transfer,
    )
    np.testing.assert_allclose(centre(path), expected, atol=2)
    name = {16: "PQ", 18: "HLG"}[transfer]
    assert scan_video(path).changes == (f"HDR ({name}, BT.2020), tone-mapped to BT.709",)


def test_hdr_in_8_bits_and_of_full_range(tmp_path):
    path = encode_yuv(
        tmp_path / "a.mp4", (191, 128, 128), space=9, primaries=9, transfer=18, full=True
    )
    np.testing.assert_allclose(centre(path), 251, atol=2)


def signal_of(rgb_709, primaries):
    """The SDR signal by which a BT.709 colour is coded in other primaries."""
    light = np.array(rgb_709) ** 2.4
    there = np.linalg.inv(tonemapping._to_xyz(primaries)) @ tonemapping._to_xyz("BT.709") @ light
    return there ** (1 / 2.4)


@pytest.mark.parametrize(("number", "primaries"), [(9, "BT.2020"), (12, "P3")])
def test_wide_colours_become_those_of_bt709(tmp_path, number, primaries):
    r, g, b = signal_of((0.8, 0.4, 0.3), primaries)
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    chroma = ((b - luma) / 1.8556, (r - luma) / 1.5748)
    values = (round(64 + 876 * luma), *(round(512 + 896 * c) for c in chroma))
    path = encode_yuv(
        tmp_path / "a.mp4",
        values,
        pixels="yuv420p10le",
        space=1,
        primaries=number,
        transfer=1,
    )
    np.testing.assert_allclose(centre(path), np.array([0.8, 0.4, 0.3]) * 255, atol=2)
    assert scan_video(path).changes == (f"colours of {primaries}, turned into BT.709's",)


def test_tone_mapping_never_reverses_brightness_and_keeps_hues():
    for transfer in ("PQ", "HLG"):
        grey = np.repeat(np.arange(0, 65281, 64, dtype=np.uint16)[None, :, None], 3, 2)
        found = tonemapping.to_bt709(grey, transfer, "BT.2020")[0].astype(int)
        assert np.diff(found[:, 0]).min() >= 0
        assert np.abs(found - found[:, :1]).max() <= 1  # grey stays grey
    same = tonemapping.to_bt709(np.full((1, 1, 3), 32640, np.uint16), "gamma", "BT.709")
    np.testing.assert_allclose(same, 128, atol=1)


def test_what_is_opaque_does_not_change(tmp_path):
    path = encode(tmp_path / "a.mov", numbered(2), rate=10, codec="png", pixels="rgba")
    assert read_video(path)[0].min() == 40


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "png", "rgba"),
        ("a.mkv", "ffv1", "yuva444p"),
        ("vp8.webm", "libvpx", "yuva420p"),
        ("vp9.webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_what_is_transparent_shows_the_background(tmp_path, name, codec, pixels):
    picture = np.full((48, 64, 4), (255, 0, 255, 0), np.uint8)
    picture[:, 32:] = (10, 20, 30, 255)
    path = str(tmp_path / name)
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}  # which VP8 needs for alpha
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba")))
        container.mux(stream.encode())
    frames, fps = read_video(path)
    assert (len(frames), fps) == (3, 10)
    shown = frames[:, 20, [4, 60]].astype(int)
    assert np.abs(shown - [[255, 255, 255], [10, 20, 30]]).max() <= 6  # lossy
    frames, _ = read_video(path, background=(0, 0, 0))
    assert frames[:, 20, 4].max() <= 6


def test_a_frame_of_another_size_is_named(tmp_path):
    """Browsers' recordings of calls change their size on the way."""
    for name, width in (("a", 64), ("b", 96)):
        encode(tmp_path / f"{name}.h264", numbered(3, width))
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    message = r"both\.h264: frame 3 has another size \(96x48\) than the first \(64x48\)"
    for read in (scan_video, read_video):
        with pytest.raises(VideoError, match=message):
            read(both)
    with pytest.raises(VideoError, match=message), open_video(both):
        pass
