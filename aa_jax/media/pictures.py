"""Single pictures: reading, writing, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from aa_jax import files

Picture = UInt8[np.ndarray, "h w 3"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Names' ends of the pictures of a folder; a single picture is read whatever its name."""


class PictureError(ValueError):
    """A picture cannot be read; the message names the file and the cause."""


def read_picture(path: str | Path) -> Picture:
    """Reads a picture as RGB, turned upright by its EXIF orientation.

    Raises:
      PictureError: the file is missing or no readable picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise PictureError(f"{path}: no such picture") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: no picture that Pillow can read; PNG and JPEG are") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path}: cannot be read: {error}") from None


def write_picture(path: str | Path, picture: Picture) -> None:
    """Writes a picture under a temporary name, then renames it; the suffix names the format."""
    from PIL import Image

    with files.replacing_file(Path(path)) as temporary:
        Image.fromarray(picture).save(temporary)


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
