"""What players do to stored pictures before they show them: turn, mirror, stretch, colour.

Containers say how their pictures are meant: a display matrix turns and mirrors, pixels may be wider
than high, colours may be coded by several matrices, ranges, primaries and transfer functions.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from aa_jax.media import tonemapping
from aa_jax.media.errors import VideoError
from aa_jax.media.pictures import WHITE, Colour

if TYPE_CHECKING:
    import av

Frame = UInt8[np.ndarray, "h w 3"]
MAX_PIXELS = 1 << 25
"""Largest picture read: a little more than 8K video, 7680 x 4320."""

# Code points of ITU-T H.273, which FFmpeg uses.
_UNSPECIFIED = (2, 3)
_NO_MATRIX = {8: "YCgCo", 11: "YDzDx", 14: "ICtCp", 15: "IPT", 16: "YCgCo", 17: "YCgCo"}
_BT2020_MATRICES = (9, 10)
_TRANSFERS: dict[int, tonemapping.Transfer] = {16: "PQ", 18: "HLG"}
_PRIMARIES: dict[int, tonemapping.Primaries] = {9: "BT.2020", 11: "P3", 12: "P3"}


@dataclasses.dataclass(frozen=True)
class Look:
    """How the pictures of a video are shown.

    Attributes:
      stored: width and height as decoded.
      square: width and height with square pixels, before turning.
      rotation: degrees, counter-clockwise, by which pictures are turned to stand upright.
      mirrored: whether left and right are then swapped.
      transfer, primaries: of the colours, where they are not BT.709's.
      matrix: FFmpeg's number of the colour matrix; None: as each frame says.
    """

    stored: tuple[int, int]
    square: tuple[int, int]
    rotation: int = 0
    mirrored: bool = False
    transfer: tonemapping.Transfer = "gamma"
    primaries: tonemapping.Primaries = "BT.709"
    matrix: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture shown."""
        return self.square[::-1] if self.rotation % 180 else self.square

    @property
    def changes(self) -> tuple[str, ...]:
        """What is done to the stored pictures, for a report."""
        changes = []
        if self.square != self.stored:
            sizes = "{}x{} shown as {}x{}".format(*self.stored, *self.square)
            changes.append(f"pixels made square: {sizes}")
        if self.rotation:
            changes.append(f"turned by {self.rotation} degrees to stand upright")
        if self.mirrored:
            changes.append("mirrored left to right")
        if self.transfer != "gamma":
            changes.append(f"HDR ({self.transfer}, {self.primaries}), tone-mapped to BT.709")
        elif self.primaries != "BT.709":
            changes.append(f"colours of {self.primaries}, turned into BT.709's")
        return tuple(changes)


def look_at(frame: av.VideoFrame, aspect: Fraction | None) -> Look:
    """How a video is shown whose first frame is given.

    Args:
      aspect: width of a pixel over its height; None: square.

    Raises:
      VideoError: too large, or of colours that cannot be read; names no file.
    """
    stored = (frame.width, frame.height)
    rotation, mirrored = _turning(frame)
    look = Look(stored, _square(stored, aspect), rotation, mirrored, matrix=_matrix(frame))
    check_size(*look.size)
    if int(frame.colorspace) in _NO_MATRIX and not frame.format.is_rgb:
        name = _NO_MATRIX[int(frame.colorspace)]
        raise VideoError(f"its colours are coded as {name}, which cannot be read; make them BT.709")
    transfer = _TRANSFERS.get(int(frame.color_trc), "gamma")
    primaries = _PRIMARIES.get(int(frame.color_primaries), "BT.709")
    if transfer != "gamma" and int(frame.color_primaries) in _UNSPECIFIED:
        primaries = "BT.2020"
    return dataclasses.replace(look, transfer=transfer, primaries=primaries)


def check_size(width: int, height: int) -> None:
    """Raises `VideoError` for a picture of more than `MAX_PIXELS`; names no file."""
    if width * height > MAX_PIXELS:
        raise VideoError(f"pictures of {width}x{height} pixels are too large to be read")


def show(frame: av.VideoFrame, look: Look, background: Colour = WHITE) -> Frame:
    """A decoded frame as it is shown, RGB; what is transparent lets the background through."""
    from av.video.reformatter import Interpolation

    arguments = {} if look.matrix is None else {"src_colorspace": look.matrix}
    if look.square != look.stored:
        arguments |= {"width": look.square[0], "height": look.square[1]}
    # FFmpeg's quick path takes white of more than 8 bits for 253.
    deep = max(component.bits for component in frame.format.components) > 8
    if deep or "width" in arguments:
        arguments["interpolation"] = (
            Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        )
    if look.transfer != "gamma" or look.primaries != "BT.709":
        picture = frame.reformat(format="rgb48le", **arguments).to_ndarray()
        picture = tonemapping.to_bt709(picture, look.transfer, look.primaries)
    elif any(component.is_alpha for component in frame.format.components):
        picture = frame.reformat(format="rgba", **arguments).to_ndarray()
        picture = _composited(picture, np.array(background, np.uint16))
    else:
        picture = frame.reformat(format="rgb24", **arguments).to_ndarray()
    picture = np.rot90(picture, look.rotation // 90)
    return picture[:, ::-1] if look.mirrored else picture


def _composited(picture: UInt8[np.ndarray, "h w 4"], background: np.ndarray) -> Frame:
    result = np.ascontiguousarray(picture[..., :3])
    clear = picture[..., 3] < 255
    alpha = picture[clear][:, 3:].astype(np.uint16)
    result[clear] = (result[clear] * alpha + background * (255 - alpha) + 127) // 255
    return result


def _square(stored: tuple[int, int], aspect: Fraction | None) -> tuple[int, int]:
    """The size at which pixels are square: one side grows, as in browsers, and none shrinks."""
    width, height = stored
    if not aspect or aspect <= 0 or aspect == 1:
        return stored
    if aspect > 1:
        return max(round(width * aspect), 1), height
    return width, max(round(height / aspect), 1)


def _turning(frame: av.VideoFrame) -> tuple[int, bool]:
    """Rotation and mirroring of a display matrix, by the nearest of the eight right-angled ones."""
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return 0, False
    matrix = np.frombuffer(bytes(data)[:36], "=i4").reshape(3, 3)[:2, :2].astype(float)
    if not matrix.any():
        return 0, False
    (a, b), (c, d) = matrix  # stored (x, y) is shown at (a x + c y, b x + d y), y downwards
    mirrored = a * d - b * c < 0
    if mirrored:  # what comes before the swap of left and right
        a, c = -a, -c
    # Where x points to, counter-clockwise, with y upwards.
    rotation = round(np.degrees(np.arctan2(c - b, a + d)) / 90) * 90 % 360
    return int(rotation), bool(mirrored)


def _matrix(frame: av.VideoFrame) -> int | None:
    """The colour matrix of a frame that does not say, or says one that FFmpeg's scaler lacks.

    By the size, as players guess: BT.709 from 1280 pixels of width or 577 of height on.
    """
    space = int(frame.colorspace)
    if frame.format.is_rgb:
        return None
    if space in _BT2020_MATRICES:
        return 9
    if space not in _UNSPECIFIED:
        return None
    if int(frame.color_primaries) == 9 or int(frame.color_trc) in _TRANSFERS:
        return 9
    return 1 if frame.width >= 1280 or frame.height > 576 else 5
