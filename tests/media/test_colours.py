"""Pixels of every kind come out as they look."""

import struct

import numpy as np
import pytest
from picture_files import RAMP, assert_grey, png, saved, tiff, written
from PIL import Image

from aa_jax.media import colours
from aa_jax.media.pictures import PictureError, read_picture

# --- numbers wider than eight bits --------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "name"),
    [("I;16", "a.png"), ("I;16", "a.tif"), ("I;16B", "a.tif"), ("I", "a.tif"), ("I;16", "a.jp2")],
)
def test_sixteen_bits_are_scaled(tmp_path, mode, name):
    wide = RAMP.astype(np.uint16) * 257
    if mode == "I":
        image = Image.fromarray(wide.astype(np.int32))
    else:
        image = Image.frombytes(mode, (32, 8), wide.astype(">u2" if mode[-1] == "B" else "<u2"))
    assert image.mode == mode
    read = read_picture(saved(tmp_path, image, name))
    np.testing.assert_array_equal(read, np.stack([RAMP] * 3, -1))


def test_sixteen_bits_are_rounded_to_the_nearest_level(tmp_path):
    wide = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], np.uint16)
    read = read_picture(saved(tmp_path, Image.fromarray(wide)))
    assert read[0, :, 0].tolist() == [0, 0, 1, 1, 2, 254, 255, 255]


@pytest.mark.parametrize("bands", ["RGB", "RGBA", "LA"])
def test_colour_pngs_of_sixteen_bits(tmp_path, bands):
    """Pillow keeps the upper byte: half a level of rounding."""
    wide = RAMP.astype(">u2") * 257
    layers = [wide if band != "A" else np.full_like(wide, 65535) for band in bands]
    colour = {"RGB": 2, "RGBA": 6, "LA": 4}[bands]
    data = png([row.tobytes() for row in np.stack(layers, -1)], 32, 16, colour)
    assert_grey(read_picture(written(tmp_path, data)), RAMP)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("dtype", "top", "sample_format"),
    [
        (np.uint16, 65535, 1),
        (np.int16, 32767, 2),
        (np.int32, 2**31 - 1, 2),
        (np.uint32, 2**32 - 1, 1),
        (np.float32, 1, 3),
        (np.float32, 255, 3),
        (np.float32, 65535, 3),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_tiffs_of_wide_numbers(tmp_path, dtype, top, sample_format, order, zipped):
    if (dtype, order) == (np.uint32, ">"):
        pytest.skip("Pillow reads none")
    values = RAMP.astype(np.float64) / 255 * top
    pixels = (np.rint(values) if top > 1 and dtype != np.float32 else values).astype(dtype)
    bits = pixels.dtype.itemsize * 8
    data = tiff(pixels, bits=bits, sample_format=sample_format, order=order, zipped=zipped)
    assert_grey(read_picture(written(tmp_path, data, "a.tif")), RAMP)


def test_twelve_bits(tmp_path):
    values = np.array([[0, 1365, 2730, 4095]], np.uint16)
    a, b, c, d = (int(v) for v in values[0])
    packed = (a << 36 | b << 24 | c << 12 | d).to_bytes(6, "big")
    data = tiff(values, bits=12, raw=packed)
    assert_grey(read_picture(written(tmp_path, data, "a.tif")), np.array([[0, 85, 170, 255]]))


@pytest.mark.parametrize(
    ("dtype", "sample_format"), [(np.uint8, 1), (np.uint16, 1), (np.float32, 3)]
)
def test_where_zero_is_white(tmp_path, dtype, sample_format):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (RAMP / 255 * top).astype(dtype)
    bits = pixels.dtype.itemsize * 8
    data = tiff(pixels, bits=bits, sample_format=sample_format, photometric=0)
    assert_grey(read_picture(written(tmp_path, data, "a.tif")), 255 - RAMP, atol=1)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_tiffs(tmp_path, dtype, planar, order, zipped):
    pixels = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
    wide = pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
    wide = wide.astype(wide.dtype.newbyteorder(order))
    raw = np.moveaxis(wide, -1, 0).tobytes() if planar == 2 else None
    packing = {"order": order, "planar": planar, "raw": raw, "zipped": zipped}
    data = tiff(wide, bits=wide.dtype.itemsize * 8, photometric=2, **packing)
    path = written(tmp_path, data, "a.tif")
    np.testing.assert_array_equal(read_picture(path), pixels)


def test_portable_greymaps_of_any_depth(tmp_path):
    for top in (255, 1023, 4095, 65535):
        values = np.rint(RAMP / 255 * top).astype(">u2" if top > 255 else "u1")
        data = b"P5 32 8 %d\n" % top + values.tobytes()
        assert_grey(read_picture(written(tmp_path, data, "a.pgm")), RAMP)


def test_one_bright_pixel_does_not_decide_the_range_of_floats():
    pixels = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = 30.0, np.nan, np.inf
    pixels[0, 3] = -np.inf
    image, alpha = colours.to_rgb(Image.fromarray(pixels))
    read = np.asarray(image)[..., 0]
    assert alpha is None
    assert read[0, :4].tolist() == [255, 0, 255, 0]
    np.testing.assert_array_equal(read[1:], np.rint(pixels[1:] * 255))


def test_floats_of_no_known_range_are_refused(tmp_path):
    data = tiff(np.full((4, 4), 1e6, np.float32), bits=32, sample_format=3)
    with pytest.raises(PictureError, match=r"a\.tif: .*numbers up to 1e\+06"):
        read_picture(written(tmp_path, data, "a.tif"))


# --- every mode ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode",
    [
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"),
        *("HSV", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
    ],
)
def test_every_mode_of_pillow(mode):
    grey = np.repeat(np.array([[0, 64, 128, 192, 255]], np.uint8), 3, 0)
    image = Image.fromarray(grey)
    if mode == "1":
        grey = np.where(grey > 127, 255, 0)
        image = image.point(lambda x: 255 * (x > 127), "1")
    elif mode in ("I", "F"):
        image = Image.fromarray(grey.astype({"I": np.int32, "F": np.float32}[mode]))
    elif mode.startswith("I;16"):
        wide = (grey.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
        image = Image.frombytes(mode, (5, 3), wide.tobytes())
    elif mode in ("La", "PA"):
        image = image.convert("LA").convert(mode)
    elif mode in ("RGBa", "LAB", "HSV"):
        image = image.convert("RGBA" if mode == "RGBa" else "RGB").convert(mode)
    else:
        image = image.convert(mode)
    assert image.mode == mode
    rgb, alpha = colours.to_rgb(image)
    assert rgb.mode == "RGB"
    # Lab and the web palette know fewer greys.
    atol = {"LAB": 2, "P": 26, "PA": 26}.get(mode, 0)
    assert_grey(np.asarray(rgb), grey, atol=atol)
    assert alpha is None or np.asarray(alpha).min() == 255


# --- transparency -------------------------------------------------------------------------------

HIDDEN = np.array([[[255, 0, 255, 0], [10, 20, 30, 255], [255, 0, 255, 51]]], np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.tga"])
def test_hidden_colours_do_not_show(tmp_path, name):
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    path = saved(tmp_path, Image.fromarray(HIDDEN), name, **options)
    assert read_picture(path).tolist() == [[[255] * 3, [10, 20, 30], [255, 204, 255]]]
    black = read_picture(path, background=(0, 0, 0)).tolist()
    assert black == [[[0] * 3, [10, 20, 30], [51, 0, 51]]]


def test_transparency_of_palettes(tmp_path):
    palette = (b"PLTE", bytes([9, 9, 9, 200, 100, 50, 0, 0, 0]))
    for entries, expected in (
        (b"\0", [[255] * 3, [200, 100, 50], [0] * 3]),
        (b"\xff\x33", [[9] * 3, [244, 224, 214], [0] * 3]),
    ):
        data = png([bytes([0, 1, 2])], 3, 8, 3, palette, (b"tRNS", entries))
        assert read_picture(written(tmp_path, data)).tolist() == [expected]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key", "expected"),
    [
        (1, 0, [0b10100000], [1], [255, 0, 255, 0]),
        (1, 0, [0b10100000], [0], [255, 255, 255, 255]),
        (2, 0, [0b00011011], [1], [0, 255, 170, 255]),  # Pillow 13 compares 1 with 85
        (4, 0, [0x0F, 0x5A], [5], [0, 255, 255, 170]),
        (8, 0, [0, 9, 10, 11], [9], [0, 255, 10, 11]),
    ],
)
def test_a_key_of_grey_is_transparent(tmp_path, depth, colour, row, key, expected):
    data = png([bytes(row)], 4, depth, colour, (b"tRNS", struct.pack(">H", *key)))
    assert_grey(read_picture(written(tmp_path, data)), np.array([expected]))


def test_a_key_of_sixteen_bits(tmp_path):
    grey = png([struct.pack(">3H", 0, 7, 65535)], 3, 16, 0, (b"tRNS", struct.pack(">H", 7)))
    assert_grey(read_picture(written(tmp_path, grey)), np.array([[0, 255, 255]]))
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    data = png([row], 2, 16, 2, (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)))
    assert read_picture(written(tmp_path, data)).tolist() == [[[255] * 3, [0] * 3]]


def test_transparent_gifs(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 255, 10, 20, 30])
    path = saved(tmp_path, image, "a.gif", transparency=0)
    assert read_picture(path, background=(1, 2, 3)).tolist() == [[[1, 2, 3], [10, 20, 30]]]


@pytest.mark.parametrize(("extra", "expected"), [(2, 178), (1, 229), (0, 102)])
def test_extra_samples_of_tiffs(tmp_path, extra, expected):
    """Alpha 51 of 255 as a share (2), multiplied already (1), or something else (0)."""
    pixels = np.full((1, 1, 4), 102, np.uint8)
    pixels[..., 3] = 51 if extra == 2 else 127
    if extra == 2:
        expected = (102 * 51 + 255 * 204) // 255
    if extra == 1:  # 102 / 127 * 255 = 205 of which 127 / 255, and white
        expected = round((205 * 127 + 255 * 128) / 255)
    data = tiff(pixels, bits=8, photometric=2, extra=[extra])
    assert_grey(read_picture(written(tmp_path, data, "a.tif")), np.array([[expected]]), atol=1)
