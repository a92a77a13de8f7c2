"""Picture files as people have them: with notes, turned, animated, damaged."""

import struct
import zlib

import numpy as np
import pytest
from picture_files import RAMP, assert_grey, chunk, matrix_profile, png, saved, written
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from aa_jax.media import pictures
from aa_jax.media.pictures import PictureError, read_picture

# --- notes in the file --------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["text", "international"])
def test_large_texts_are_no_error(tmp_path, kind, zipped):
    info = PngImagePlugin.PngInfo()
    add = info.add_text if kind == "text" else info.add_itxt
    for index in range(3):
        add(f"workflow {index}", "x" * 30_000_000, zip=zipped)
    path = saved(tmp_path, Image.fromarray(RAMP), pnginfo=info)
    assert_grey(read_picture(path), RAMP)


def test_texts_after_the_pixels_and_damaged_ones(tmp_path):
    data = png([bytes(RAMP[0])], 32, 8, 0)
    end = len(data) - 12
    large = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000)))
    for text in (large, chunk(b"zTXt", b"a\0\0nonsense"), chunk(b"iTXt", b""), chunk(b"tEXt", b"")):
        path = written(tmp_path, data[:end] + text + data[end:])
        assert_grey(read_picture(path), RAMP[:1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "xmp.png", "a.avif"])
def test_pictures_are_turned_upright(tmp_path, name, orientation):
    blocks = np.array([[0, 60, 120], [180, 220, 255]], np.uint8)
    upright = np.kron(blocks, np.ones((16, 16), np.uint8))
    stored = {  # what the camera wrote, so that a viewer shows `upright`
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGB")
    if name == "xmp.png":
        info = PngImagePlugin.PngInfo()
        xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'
        info.add_itxt("XML:com.adobe.xmp", xmp)
        path = saved(tmp_path, image, name, pnginfo=info)
    elif name == "a.tif":
        tags = ImageFileDirectory_v2()
        tags[274] = orientation
        path = saved(tmp_path, image, name, tiffinfo=tags)
    else:
        if name == "a.avif" and ".avif" not in Image.registered_extensions():
            pytest.skip("this Pillow has no AVIF")
        exif = Image.Exif()
        exif[274] = orientation
        path = saved(tmp_path, image, name, exif=exif, quality=95)
    assert_grey(read_picture(path)[8::16, 8::16], blocks, atol=4)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0" + b"9" * 99]
)
def test_damaged_notes_are_no_error(tmp_path, exif):
    path = saved(tmp_path, Image.fromarray(RAMP), "a.jpg", exif=exif, quality=100)
    assert_grey(read_picture(path), RAMP, atol=3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_colours_of_a_profile_become_srgb(tmp_path, name):
    """Adobe RGB's (128, 100, 60): by its formulas (136.7, 99.8, 55.4) in sRGB."""
    image = Image.new("RGB", (16, 16), (128, 100, 60))
    path = saved(tmp_path, image, name, icc_profile=matrix_profile(), quality=100)
    expected = adobe_to_srgb([128, 100, 60])
    assert np.abs(expected - [128, 100, 60]).max() > 5
    np.testing.assert_allclose(read_picture(path)[8, 8], expected, atol=2)


def adobe_to_srgb(colour):
    def matrix(primaries):
        xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
        return xyz * np.linalg.solve(xyz, [0.9505, 1.0, 1.0890])

    wide = matrix([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)])
    srgb = matrix([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
    linear = np.linalg.solve(srgb, wide @ (np.array(colour) / 255) ** 2.2)
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_profiles_that_are_srgb_damaged_or_of_other_colours_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
    for profile in (srgb, b"no profile", matrix_profile()[:300]):
        path = saved(tmp_path, Image.fromarray(pixels), icc_profile=profile)
        np.testing.assert_array_equal(read_picture(path), pixels)
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.tif", icc_profile=srgb)
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]


def test_large_profiles_are_no_error(tmp_path):
    profile = matrix_profile() + bytes(3_000_000)
    path = saved(tmp_path, Image.fromarray(RAMP).convert("RGB"), icc_profile=profile)
    assert read_picture(path).shape == (8, 32, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_an_animation_the_first_frame_is_taken_and_said(tmp_path, capfd, name):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    path = saved(tmp_path, first, name, save_all=True, append_images=[second])
    for _ in range(2):
        assert read_picture(path)[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)
    assert capfd.readouterr().err == (
        f"warning: {path}: has several pictures; the first is taken\n"
    )


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif", "a.bmp"])
def test_a_cut_file_is_one_line_with_its_name(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    data = path.read_bytes()
    for share in (0, 10, 200, len(data) // 2):
        path.write_bytes(data[:share])
        with pytest.raises(PictureError, match=name) as caught:
            read_picture(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_picture(tmp_path):
    with pytest.raises(PictureError, match="no such picture"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match=f"^{tmp_path}: is a folder"):  # its name, once
        read_picture(tmp_path)
    with pytest.raises(PictureError, match="TIFF, or of a kind that is not read; save it with 8"):
        read_picture(written(tmp_path, b"MM\0*\0\0\0\x08" + bytes(40)))
    with pytest.raises(PictureError, match="is empty"):
        read_picture(written(tmp_path, b""))
    with pytest.raises(PictureError, match="HEIC picture"):
        read_picture(written(tmp_path, b"\0\0\0\x24ftypheic" + bytes(40)))
    with pytest.raises(PictureError, match="no picture that is read"):
        read_picture(
            written(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.eps")
        )


def test_a_bomb_is_one_line(tmp_path):
    data = png([b""], 60_000, 8, 0).replace(*[struct.pack(">II", 60_000, n) for n in (1, 60_000)])
    head = data[12:29]
    data = data.replace(data[29:33], struct.pack(">I", zlib.crc32(head)))
    with pytest.raises(PictureError, match="more than 178,956,970 pixels; make it smaller"):
        read_picture(written(tmp_path, data))


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#f80", (255, 136, 0)),
        ("#00FF80", (0, 255, 128)),
        ("1,2,3", (1, 2, 3)),
        ("1, 2, 3", (1, 2, 3)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("LightGrey", (211, 211, 211)),
    ],
)
def test_colours_as_people_write_them(text, colour):
    assert pictures.parse_colour(text) == colour


@pytest.mark.parametrize("text", ["", "whitish", "#12345", "1,2", "1,2,300", "#11223344", "-1,2,3"])
def test_what_is_no_colour(text):
    with pytest.raises(ValueError, match="must be a colour like white"):
        pictures.parse_colour(text)
