"""Single pictures: reading, writing, contact sheets."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from aa_jax import files
from aa_jax.media import colours, png
from aa_jax.media.provenance import embedding
from aa_jax.media.provenance.mark import Mark

if TYPE_CHECKING:
    from PIL import Image

Picture = UInt8[np.ndarray, "h w 3"]

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

WHITE, BLACK = (255, 255, 255), (0, 0, 0)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Names' ends of the pictures of a folder; a single picture is read whatever its name."""

FORMATS = frozenset(
    {"PNG", "JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "DIB", "AVIF", "JPEG2000"}
    | {"PPM", "TGA", "ICO", "QOI", "PCX", "SGI", "PSD", "DDS"}
)
"""What is read. Not all that Pillow opens: some are drawn by other programs (EPS, WMF)."""

MOST_PIXELS = 178_956_970
"""Twice Pillow's limit for warnings, which is where it refuses."""


class PictureError(ValueError):
    """A picture cannot be read; the message names the file and the cause."""


def read_picture(path: str | Path, background: Colour = WHITE) -> Picture:
    """Reads a picture of any kind as 8-bit sRGB, upright.

    It is turned by its EXIF orientation, its numbers are scaled (`colours.to_rgb`), colours with an
    ICC profile become sRGB, and what is transparent shows `background`. Of an animated picture the
    first frame is taken, which one line on stderr says. Texts and other notes in the file, of
    whatever size and state, are no error.

    Raises:
      PictureError: the file is missing, damaged or no readable picture.
    """
    path = Path(path)
    if path.is_dir():
        raise PictureError(f"{path}: is a folder, where a picture is wanted")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{path}: no such picture") from None
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name with a NUL
        raise PictureError(f"{str(path)!r}: {error}") from None
    try:
        return _decode(data, background, path)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{path}: needs more memory than there is; make it smaller") from None
    except Exception as error:  # broken bytes provoke whatever they hit upon
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PictureError(f"{path}: damaged, or no picture that is read: {reason}") from None


def read_frames(paths: Iterable[Path], background: Colour = WHITE) -> Iterator[Picture]:
    """The frames of a clip that are a picture each, one at a time, by `read_picture`.

    Raises:
      PictureError: as `read_picture`, or one has another size than the first.
    """
    first = None
    for path in paths:
        picture = read_picture(path, background)
        size = picture.shape[1::-1]
        first = first or size
        if size != first:
            sizes = "{}x{}) than the first frame ({}x{}".format(*size, *first)
            raise PictureError(f"{path}: has another size ({sizes})")
        yield picture


def _decode(data: bytes, background: Colour, path: Path) -> Picture:
    from PIL import Image, UnidentifiedImageError

    profile = None
    if data.startswith(png.SIGNATURE):
        data, profile = png.without_texts(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large sizes and odd notes
        Image.init()
        formats = [name for name in Image.ID if name in FORMATS]
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError:
            raise PictureError(f"{path}: {_unknown(data)}") from None
        except Image.DecompressionBombError:
            raise PictureError(
                f"{path}: has more than {MOST_PIXELS:,} pixels; make it smaller"
            ) from None
        with image:
            colours.remember(image)
            image.load()
            picture, alpha = colours.to_rgb(image, profile or image.info.get("icc_profile"))
            if alpha:
                behind = Image.new("RGB", picture.size, background)
                behind.paste(picture, mask=alpha)
                picture = behind
            if (turn := _turn(image)) is not None:
                picture = picture.transpose(turn)
            if _moves(image):
                _warn(f"{path}: has several pictures; the first is taken")
    return np.asarray(picture)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright."""
    from PIL import Image

    try:
        name = _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged notes are no damaged picture
        return None
    return Image.Transpose[name] if name else None


_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def _moves(image: Image.Image) -> bool:
    """Whether there are more frames or pages; not the second eye or depth of a phone's JPEG."""
    if image.format in ("MPO", "PSD"):
        return False
    with contextlib.suppress(Exception):  # of a later frame
        return bool(getattr(image, "is_animated", False))
    return False


@functools.lru_cache(maxsize=256)
def _warn(line: str) -> None:
    """Says it once."""
    print(f"warning: {line}", file=sys.stderr)


def _unknown(data: bytes) -> str:
    """What a file is that Pillow does not know."""
    if not data:
        return "is empty"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "a HEIC picture, which is not read; export it as JPEG or PNG"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a damaged TIFF, or of a kind that is not read; save it with 8 or 16 bits a channel"
    return "damaged, or no picture that is read; PNG, JPEG, WebP and TIFF are"


def parse_colour(text: str) -> Colour:
    """A colour as people write it: `white`, `#ff8000`, `255,128,0`.

    Raises:
      ValueError: it is none, or partly transparent.
    """
    from PIL import ImageColor

    numbers = text.split(",")
    try:
        colour = ImageColor.getrgb(
            f"rgb({text})" if len(numbers) == 3 and "(" not in text else text
        )
    except ValueError:
        colour = ()
    if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
        raise ValueError(f"must be a colour like white, #ff8000 or 255,128,0, got {text!r}")
    return colour


def write_picture(path: str | Path, picture: Picture, mark: Mark | None = None) -> None:
    """Writes a picture under a temporary name, then renames it.

    Args:
      path: the suffix names the format; `.png` where there is a mark.
      picture: RGB or grey.
      mark: what the file says of its origin; None for what no model has made.
    """
    from PIL import Image

    path = Path(path)
    if mark and path.suffix.lower() != ".png":
        raise ValueError(f"{path}: only PNG is marked")
    with files.replacing_file(path) as temporary:
        Image.fromarray(picture).save(temporary)
        if mark:
            temporary.write_bytes(embedding.into_png(temporary.read_bytes(), mark.xmp))


def resize(picture: Picture, width: int, height: int) -> Picture:
    """A picture at another size (Lanczos), without keeping its aspect ratio."""
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def contact_sheet(rows: Sequence[Sequence[Picture]], gap: int = 2) -> Picture:
    """Pictures of one size laid out in rows, with a light gap between them."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 224, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    return sheet
