"""Damaged pictures of every format give a picture or one line, and soon."""

import contextlib
import io
import struct
import tempfile
import time
import zlib

import numpy as np
import pytest
from picture_files import RAMP, matrix_profile, png, tiff
from PIL import Image, PngImagePlugin

from aa_jax.media.pictures import PictureError, read_picture

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

MOST_SECONDS = 10


def seeds():
    """Valid files: small, of many modes, with notes, profiles and orientations."""
    colour = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
    cutout = np.concatenate([colour, RAMP[..., None]], -1)
    exif = Image.Exif()
    exif[274] = 6
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 500, zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<a tiff:Orientation="3"/>')
    notes = {"exif": exif, "icc_profile": matrix_profile()}
    images = {name: Image.fromarray(x) for name, x in (("RGB", colour), ("RGBA", cutout))}
    images["P"] = images["RGB"].convert("P")
    images["CMYK"] = images["RGB"].convert("CMYK")
    wanted = [
        *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "P")),
        ("PNG", "RGB", {"pnginfo": info, **notes}),
        ("PNG", "P", {"transparency": bytes(range(256))}),
        ("PNG", "RGB", {"save_all": True, "append_images": [images["RGB"].rotate(180)]}),
        ("JPEG", "RGB", notes),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("WEBP", "RGBA", {**notes, "lossless": True}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [images["RGB"].rotate(180)]}),
        ("TIFF", "RGB", {"compression": "tiff_lzw", **notes}),
        ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "CMYK", {}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("GIF", "P", {"transparency": 3}),
        ("GIF", "P", {"save_all": True, "append_images": [images["P"].rotate(180)]}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
    ]
    files = []
    for form, mode, options in wanted:
        buffer = io.BytesIO()
        images[mode].save(buffer, form, **options)
        files.append(buffer.getvalue())
    wide = RAMP.astype(">u2") * 257
    files.append(png([row.tobytes() for row in wide], 32, 16, 0, (b"tRNS", b"\1\1")))
    files.append(png([bytes([0x1B])], 4, 2, 0, (b"tRNS", b"\0\1")))
    files.append(tiff(RAMP / np.float32(255), bits=32, sample_format=3, zipped=True))
    files.append(tiff(RAMP.astype(np.uint16), bits=16, photometric=0))
    files.append(tiff(cutout.astype(np.uint16), bits=16, photometric=2, extra=[1]))
    return files


SEEDS = seeds()
NUMBERS = [0, 1, 2, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1]


@st.composite
def damaged(draw):
    """A valid file after a few mutations."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        # Heads are where formats decide.
        last = max(len(data) - 1, 0)
        place = draw(st.one_of(st.integers(0, min(last, 200)), st.integers(0, last)))
        size = draw(st.integers(1, 64))
        kind = draw(st.sampled_from(["bits", "bytes", "number", "cut", "drop", "repeat", "splice"]))
        if kind == "bits" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "bytes":
            data[place : place + size] = draw(st.binary(min_size=1, max_size=size))
        elif kind == "number":
            form = draw(st.sampled_from(["<H", ">H", "<I", ">I"]))
            number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * struct.calcsize(form))
            data[place : place + struct.calcsize(form)] = struct.pack(form, number)
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + size]
        elif kind == "repeat":
            data[place:place] = data[place : place + size]
        else:
            other = draw(st.sampled_from(SEEDS))
            start = draw(st.integers(0, len(other) - 1))
            data[place:place] = other[start : start + size]
    if draw(st.booleans()):
        _sign_chunks(data)
    return bytes(data)


def _sign_chunks(data):
    """Right checksums of a PNG, without which its reader looks no further."""
    position = 8
    while data.startswith(b"\x89PNG") and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4


def gives_a_picture_or_one_line(data):
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(data)
        file.flush()
        start = time.perf_counter()
        picture, line = read(file.name)
        assert time.perf_counter() - start < MOST_SECONDS
        if line:
            assert line.startswith(file.name)
            assert "\n" not in line
            assert len(line) < 400
        else:
            assert picture.dtype == np.uint8
            assert picture.shape[2:] == (3,)
            assert picture.size


def read(path):
    """A picture, or why there is none."""
    with contextlib.redirect_stderr(None):
        try:
            return read_picture(path), ""
        except PictureError as error:
            return None, str(error)


def test_the_seeds_are_pictures(tmp_path):
    for index, data in enumerate(SEEDS):
        (tmp_path / str(index)).write_bytes(data)
        assert read(tmp_path / str(index))[1] == "", index


def settings(examples, **options):
    checks = hypothesis.HealthCheck
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,  # measured by the test, without the making of the example
        database=None,
        suppress_health_check=[checks.too_slow, checks.data_too_large],
        **options,
    )


@settings(200, derandomize=True)
@hypothesis.given(damaged())
def test_damaged_pictures(data):
    gives_a_picture_or_one_line(data)


@pytest.mark.slow
@settings(5000)
@hypothesis.given(damaged())
def test_thousands_of_damaged_pictures(data):
    gives_a_picture_or_one_line(data)
