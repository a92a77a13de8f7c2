"""Sprites: small RGBA pictures of body parts, painted in the part's own frame.

The origin is the part's upper joint and y runs along the bone, so that patterns move with the
body. Shapes are drawn without anti-aliasing; the whole figure is averaged down later.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from aa_jax.puppets.characters import Color, Fabric
from aa_jax.puppets.patterns import paint

OUTLINE = 0.0055
"""Width of the dark rim of every part, as a fraction of the stage's side."""

Point = tuple[float, float]

_SHIFT = 4  # OpenCV draws at sixteenths of a pixel


@dataclasses.dataclass(frozen=True, eq=False)
class Sprite:
    """A body part: RGBA picture [h, w, 4] uint8 and the pixel (x, y) of its origin."""

    picture: np.ndarray
    origin: tuple[int, int]


class Brush:
    """Paints one sprite; all lengths are stage units, positions are in the part's frame.

    Attributes:
      density: pixels per stage unit.
      left, top: pixel of the picture's corner, counted from the origin.
      picture: [height, width, 4] uint8.
    """

    def __init__(self, box: tuple[float, float, float, float], density: float) -> None:
        """Takes the part's left, top, right and bottom."""
        left, top, right, bottom = (side * density for side in box)
        self.density = density
        self.left, self.top = math.floor(left) - 1, math.floor(top) - 1
        self.width = math.ceil(right) + 1 - self.left
        self.height = math.ceil(bottom) + 1 - self.top
        self.picture = np.zeros((self.height, self.width, 4), np.uint8)

    def fill(self, filling: Fabric | Color, start: float | None = None) -> None:
        """Covers the picture, from the height `start` down, with a fabric or a colour."""
        row = 0
        if start is not None:
            row = min(max(round(start * self.density - self.top), 0), self.height)
        if row == self.height:
            return
        if isinstance(filling, Fabric):
            u = np.arange(self.width, dtype=np.float32)[None] + self.left + 0.5
            v = np.arange(self.height, dtype=np.float32)[:, None] + self.top + 0.5
            repeat = self.density * filling.repeat
            colors = np.array(filling.colors, np.float32)
            self.picture[row:, :, :3] = paint(filling.pattern, u / repeat, v[row:] / repeat, colors)
        else:
            self.picture[row:, :, :3] = filling

    def ellipse(
        self,
        target: np.ndarray,
        x: float,
        y: float,
        rx: float,
        ry: float,
        color: int | tuple[int, ...] = 255,
        *,
        turn: float = 0.0,
        arc: tuple[float, float] = (0.0, 360.0),
        stroke: float | None = None,
    ) -> None:
        """An ellipse or a slice of one, filled, or its line if `stroke` is a width.

        Args:
          target: a mask, or the picture.
          turn, arc: degrees, as OpenCV counts them.
        """
        scale = self.density * (1 << _SHIFT)
        axes = (max(1, round(rx * scale)), max(1, round(ry * scale)))
        thickness = -1 if stroke is None else max(1, round(stroke * self.density))
        cv2.ellipse(
            target, self._pixel((x, y)), axes, turn, *arc, color, thickness, cv2.LINE_8, _SHIFT
        )

    def polygon(self, target: np.ndarray, corners: Sequence[Point], line: float = 0.0) -> None:
        """Fills a polygon of a mask, and draws its sides with a rounded line of some width."""
        points = np.array([self._pixel(corner) for corner in corners], np.int32)
        cv2.fillPoly(target, [points], 255, cv2.LINE_8, _SHIFT)
        if line:
            thickness = max(1, round(line * self.density))
            cv2.polylines(target, [points], True, 255, thickness, cv2.LINE_8, _SHIFT)

    def cut(self, shape: Callable[[np.ndarray, float], None]) -> Sprite:
        """The painted picture in a shape with a dark rim.

        Args:
          shape: draws itself, shrunk by a rim's width, on an empty mask: shape(mask, rim).
        """
        outer = np.zeros((self.height, self.width), np.uint8)
        inner = np.zeros_like(outer)
        shape(outer, 0.0)
        shape(inner, OUTLINE)
        dark = cv2.convertScaleAbs(self.picture, alpha=0.62)
        cv2.copyTo(dark, cv2.bitwise_not(inner), self.picture)
        self.picture[..., 3] = outer
        return self.sprite()

    def sprite(self) -> Sprite:
        """The picture as it is, without empty margins (they would cost time in every frame)."""
        x, y, w, h = cv2.boundingRect(cv2.extractChannel(self.picture, 3))
        x0, y0 = max(x - 1, 0), max(y - 1, 0)
        picture = np.ascontiguousarray(self.picture[y0 : y + h + 1, x0 : x + w + 1])
        return Sprite(picture, (-self.left - x0, -self.top - y0))

    def _pixel(self, point: Point) -> tuple[int, int]:
        """OpenCV's fixed-point pixel of a point."""
        x, y = point
        scale = 1 << _SHIFT
        return (
            round((x * self.density - self.left - 0.5) * scale),
            round((y * self.density - self.top - 0.5) * scale),
        )


def limb(
    length: float,
    start: float,
    end: float,
    density: float,
    sections: Sequence[tuple[float, Fabric | Color]],
) -> Sprite:
    """A tapered capsule.

    Args:
      length: from joint to joint.
      start, end: half-widths at the two joints.
      density: pixels per stage unit.
      sections: from which height on which filling, from the top; the first covers everything.
    """
    wide = max(start, end)
    brush = Brush((-wide, -start, wide, length + end), density)
    for height, filling in sections:
        brush.fill(filling, height if height > 0 else None)

    def shape(mask: np.ndarray, rim: float) -> None:
        a, b = start - rim, end - rim
        brush.ellipse(mask, 0, 0, a, a)
        brush.ellipse(mask, 0, length, b, b)
        brush.polygon(mask, [(-a, 0), (a, 0), (b, length), (-b, length)])

    return brush.cut(shape)


def blob(
    corners: Sequence[Point], radius: float, density: float, filling: Fabric | Color
) -> Sprite:
    """A polygon thickened by a radius, which rounds its corners."""
    xs, ys = zip(*corners, strict=True)
    box = (min(xs) - radius, min(ys) - radius, max(xs) + radius, max(ys) + radius)
    brush = Brush(box, density)
    brush.fill(filling)
    return brush.cut(lambda mask, rim: brush.polygon(mask, corners, line=2 * (radius - rim)))
