"""The canvas that points are measured on: who says how large it is, and in which unit they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from aa_jax.pose.layout import KeypointsError
from aa_jax.pose.orders import BODY, FACE, LEFT_HAND, RIGHT_HAND

MOST_PIXELS = 100_000

_NAMES = (("canvas_width", "canvas_height"), ("width", "height"), ("image_width", "image_height"))
_PARTS = {"body": BODY, "left hand": LEFT_HAND, "right hand": RIGHT_HAND, "face": FACE}

# Fractions of a canvas lie in 0..1, a little beyond where a person leaves the picture; a person
# whose joints lie within 2 pixels of the corner does not exist.
_LARGEST_FRACTION = 2.0
# What one unit must have of all joints of a part; with less, nobody can tell.
_SURE = 0.9
# A part with fewer joints than this in the whole clip is in the body's unit.
_FEW = 3
_NEGATIVE = 0.25


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A canvas for points whose file does not name its own.

    Attributes:
      width, height: pixels.
      origin: who says so, as text in front of the size, e.g. `the reference picture's`.
      guessed: nobody has said that the points are measured on it.
    """

    width: int
    height: int
    origin: str = "the given size"
    guessed: bool = False

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


Size = tuple[int, int]


def own_size(place: Mapping[str, Any]) -> Size | None:
    """Width and height in pixels that an object of JSON states; None if it states none.

    Numbers may be written as 320, 320.0 or "320"; null and 0 state nothing.

    Raises:
      KeypointsError: it states something else.
    """
    for names in _NAMES:
        width, height = (_length(place.get(name), name) for name in names)
        if width and height:
            return width, height
    return None


def _length(value: Any, name: str) -> int:
    if value is None or value in ("", 0):
        return 0
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 1 <= number <= MOST_PIXELS:
        shown = ascii(value)[:40]
        raise KeypointsError(f"field '{name}' must be from 1 to {MOST_PIXELS} pixels, got {shown}")
    return round(number)


def to_pixels(
    points: Float[np.ndarray, "n 134 2"],
    scores: Float[np.ndarray, "n 134"],
    sizes: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, "n 134 2"]:
    """Points in pixels, whether they come in pixels or in fractions of the canvas.

    Body, hands and face are told apart, for tools mix units. Of each part the medians of its
    people decide, so that no single joint does.

    Args:
      points: of all people of all frames.
      scores: 0 where a point is absent.
      sizes: width and height of the canvas of each.

    Raises:
      KeypointsError: the unit of a part cannot be told.
    """
    points = points.copy()
    body_is_fractions = False
    for name, part in _PARTS.items():
        found = points[:, part]
        # Some tools write absent points at a corner, with any score.
        nowhere = (found == 0).all(-1) | (found == -1).all(-1)
        there = (scores[:, part] > 0) & ~nowhere
        few = there.sum() < _FEW and name != "body"
        fractions = body_is_fractions if few else _are_fractions(found, there, name)
        if fractions:
            points[:, part] = found * sizes[:, None]
        if name == "body":
            body_is_fractions = fractions
    return points


def _are_fractions(points: np.ndarray, there: np.ndarray, name: str) -> bool:
    counts = there.sum(1)
    if not counts.any():
        return False
    largest = np.where(there, np.abs(points).max(-1), np.nan)[counts > 0]
    small = np.nanmedian(largest, axis=1) <= _LARGEST_FRACTION
    share = float(counts[counts > 0][small].sum() / counts.sum())
    if 1 - _SURE < share < _SURE:
        raise KeypointsError(
            f"cannot tell the unit of the {name}: {share:.0%} of its points look like fractions "
            "of the canvas, the others like pixels; write all in pixels"
        )
    if share < _SURE:
        return False
    negative = float((points[there] < 0).any(-1).mean())
    if negative >= _NEGATIVE:
        raise KeypointsError(
            f"cannot tell the unit of the {name}: {negative:.0%} of its points are below 0 and "
            "none is a pixel's; OpenPose writes pixels with --keypoint_scale 0, fractions with 3"
        )
    return True
