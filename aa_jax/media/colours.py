"""Pixels of every kind, as Pillow opens them, to 8-bit sRGB and transparency."""

from __future__ import annotations

import contextlib
import functools
import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8

if TYPE_CHECKING:
    from PIL import Image

BYTE, WORD, LONG = 255, 65535, 2**31 - 1
"""The largest numbers of 8, 16 and (signed) 32 bits."""

_FEW = 0.02
"""So large a share of a picture's positive numbers, the largest, does not decide its range."""
_OVERSHOOT = 1.5
"""Numbers may be so many times a range's end: highlights and sharpened edges."""
_SAMPLE = 2**20


class ColourError(ValueError):
    """Pixels whose colours cannot be told; the message says why."""


def to_rgb(
    image: Image.Image, profile: bytes | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """Colours and transparency of a picture.

    Numbers are scaled, never cut off: 16-bit ones from 0..65535, those of a TIFF from its own
    number of bits. Where a file does not say its range (32-bit integers and floats), 98 of 100
    positive numbers do: floats are taken from 0..1, 0..255 or 0..65535, whichever is the first
    that holds them (up to half as much again, which is white); integers from 0..255, 0..65535 or
    all of their bits. What is no number or negative is black.

    Args:
      image: as opened, of any mode.
      profile: ICC profile of its colours; one that is damaged or for other colours is passed over.

    Returns:
      Mode RGB; and mode L with 255 where it is opaque, or None where all of it is.

    Raises:
      ColourError: numbers beyond 1.5 times 65535.
    """
    alpha = _alpha(image)
    return _to_srgb(_eight_bits(image), profile), alpha


def _alpha(image: Image.Image) -> Image.Image | None:
    from PIL import Image

    if not image.has_transparency_data:
        return None
    key = image.info.get("transparency")
    if key is None or (image.mode not in ("1", "L", "I", "RGB") and image.mode[:4] != "I;16"):
        if image.mode == "La":
            image = image.convert("LA")
        return image.convert("RGBA").getchannel("A")
    # One colour stands for transparency. Pillow leaves it in the file's own bits.
    pixels, rawmode = np.asarray(image), image.info.get(_RAWMODE, "")
    if image.mode == "1":
        opaque = pixels != bool(key)
    elif image.mode == "L":
        opaque = pixels != key * _LEVEL.get(rawmode, 1)
    elif image.mode == "RGB":
        wide = rawmode.startswith("RGB;16")
        opaque = (pixels != np.array([k >> 8 if wide else k & BYTE for k in key])).any(-1)
    else:
        opaque = pixels != key
    return Image.fromarray(opaque.astype(np.uint8) * np.uint8(BYTE))


_LEVEL = {"L;2": 85, "L;4": 17}


def remember(image: Image.Image) -> None:
    """Keeps what an opened file says of its pixels and Pillow forgets when it loads them."""
    image.info[_RAWMODE] = _rawmode(image)
    if tags := getattr(image, "tag_v2", None):
        bits, form = (_one(tags.get(tag, 1)) for tag in (_BITS_PER_SAMPLE, _SAMPLE_FORMAT))
        image.info[_RANGE] = 2 ** (bits - (form == _SIGNED)) - 1 if bits <= 16 else 0
        image.info[_INVERTED] = _one(tags.get(_PHOTOMETRIC, 1)) == 0
        image.info[_UNSIGNED] = form == 1
        _mend_order(image, bits)
    elif image.format == "PPM" and image.mode == "I":
        image.info[_RANGE] = WORD  # scaled to it by Pillow


def _mend_order(image: Image.Image, bits: int) -> None:
    """Bytes of wide numbers in a TIFF, which Pillow 13 takes in the wrong order or one by one.

    Compressed ones come from libtiff in the order of the machine, whatever the file's; and of
    separate planes it takes 16 bits for two pixels.
    """
    end = "L" if image.tag_v2.prefix == b"II" else "B"
    for index, tile in enumerate(image.tile):
        rawmode = mended = tile.args[0]
        if tile.codec_name == "libtiff":
            mended = _NATIVE.get(rawmode, rawmode)
        elif bits == 16 and len(rawmode) == 1:
            mended = f"{rawmode};16{end}"
        if mended != rawmode:
            image.tile[index] = tile._replace(args=(mended, *tile.args[1:]))


_NATIVE = {"F;32BF": "F;32NF", "F;32F": "F;32NF", "I;32BS": "I;32NS", "I;32S": "I;32NS"} | {
    "I;16BS": "I;16NS",
    "I;16S": "I;16NS",
}


def _rawmode(image: Image.Image) -> str:
    """How the file packs its pixels."""
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    rawmode = args[0] if isinstance(args, tuple) and args else args
    return rawmode if isinstance(rawmode, str) else ""


_RAWMODE, _RANGE, _INVERTED, _UNSIGNED = (
    f"aa_jax:{name}" for name in ("rawmode", "range", "inverted", "unsigned")
)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2


def _one(value: object) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The same colours in mode L, RGB or CMYK."""
    from PIL import Image

    mode = image.mode
    if mode in ("L", "RGB", "CMYK"):
        return image
    if mode in ("I", "F") or mode.startswith("I;16"):
        return Image.fromarray(_scaled(np.asarray(image), image.info))
    if mode in ("1", "LA"):
        return image.convert("L")
    if mode == "La":  # colours times transparency
        return image.convert("LA").convert("L")
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), _srgb()
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if mode in ("P", "PA", "RGBa"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _scaled(pixels: Num[np.ndarray, "h w"], info: dict) -> UInt8[np.ndarray, "h w"]:
    if pixels.dtype == np.int32 and info.get(_UNSIGNED) and not info.get(_RANGE):
        pixels = pixels.view(np.uint32)
    whole = np.issubdtype(pixels.dtype, np.integer)
    if whole and pixels.dtype.itemsize == 2:
        top = info.get(_RANGE) or WORD
    else:
        top = info.get(_RANGE) or _range(pixels, whole)
    if top <= WORD and whole:
        levels = (np.arange(top + 1) * BYTE + top // 2) // top
        scaled = levels.astype(np.uint8)[np.clip(pixels, 0, top)]
    else:
        finite = np.nan_to_num(pixels, nan=0.0, posinf=top, neginf=0.0)
        scaled = np.rint(np.clip(finite, 0, top) * (BYTE / top)).astype(np.uint8)
    return BYTE - scaled if info.get(_INVERTED) else scaled


def _range(pixels: Num[np.ndarray, "h w"], whole: bool) -> int:
    """The number that is white."""
    some = pixels.ravel()[:: max(1, pixels.size // _SAMPLE)]
    some = some[np.isfinite(some) & (some > 0)]
    if not some.size:
        return BYTE
    most = float(np.quantile(some, 1 - _FEW, method="lower"))
    all_bits = 2 * LONG + 1 if pixels.dtype == np.uint32 else LONG
    ends = (BYTE, WORD, all_bits) if whole else (1, BYTE, WORD)
    end = next((end for end in ends if most <= end * (1 if whole else _OVERSHOOT)), None)
    if end is None:
        raise ColourError(f"numbers up to {most:.3g}; floats from 0 to 1, 255 or 65535 are read")
    return end


# --- colour profiles ----------------------------------------------------------------------------


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        with contextlib.suppress(Exception):  # metadata, and littlecms raises what it hits upon
            return _transformed(image, profile)
    return image.convert("RGB")


def _transformed(image: Image.Image, data: bytes) -> Image.Image:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if space == "RGB":
        if image.mode == "CMYK" or "sRGB" in (profile.profile.profile_description or ""):
            return image.convert("RGB")
        image = image.convert("RGB")
    elif space != {"L": "GRAY", "CMYK": "CMYK"}.get(image.mode):
        return image.convert("RGB")
    return ImageCms.profileToProfile(
        image,
        profile,
        _srgb(),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


@functools.cache
def _srgb():
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")
