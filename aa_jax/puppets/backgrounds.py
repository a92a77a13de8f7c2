"""Static pictures behind the puppets."""

from __future__ import annotations

import cv2
import numpy as np

from aa_jax.puppets.characters import Background, Color


def paint_background(background: Background, width: int, height: int) -> np.ndarray:
    """[height, width, 3] uint8; details scale with the shorter side."""
    w, h = 2 * width, 2 * height
    side = min(w, h)
    first, second, third = background.colors
    n = background.numbers
    picture = np.empty((h, w, 3), np.uint8)
    picture[:] = first
    if background.kind == "gradient":
        _fade(picture, first, second)
    elif background.kind == "tiles":
        cell = (0.12 + 0.12 * n[0]) * side
        columns = ((np.arange(w) + 0.5) / cell + n[1]).astype(int)
        rows = ((np.arange(h) + 0.5) / cell + n[2]).astype(int)
        picture[(rows[:, None] + columns) % 2 == 1] = second
    elif background.kind == "stripes":
        columns = ((np.arange(w) + 0.5) / ((0.16 + 0.16 * n[0]) * side) + n[1]).astype(int)
        picture[:, columns % 2 == 1] = second
    elif background.kind == "horizon":
        _fade(picture, first, second)
        _disc(picture, n[0] * w, (0.1 + 0.25 * n[1]) * h, (0.05 + 0.07 * n[2]) * side, third)
        for k in range(2):
            _disc(picture, n[3 + k] * w, 1.15 * h, (0.45 + 0.3 * n[5 + k]) * side, third)
        picture[round((0.72 + 0.12 * n[7]) * h) :] = _darker(third)
    elif background.kind == "room":
        cv2.rectangle(picture, (0, round((0.74 + 0.1 * n[0]) * h)), (w, h), _darker(second), -1)
        x, y = (0.05 + 0.6 * n[1]) * w, (0.08 + 0.2 * n[2]) * h
        frame = [round(v) for v in (x, y, x + 0.28 * side, y + 0.3 * side)]
        cv2.rectangle(picture, frame[:2], frame[2:], _darker(first), -1)
        rim = round(0.02 * side)
        cv2.rectangle(
            picture, [v + rim for v in frame[:2]], [v - rim for v in frame[2:]], third, -1
        )
    elif background.kind == "blobs":
        for k in range(7):
            x, y, size = n[3 * k : 3 * k + 3]
            _disc(picture, x * w, y * h, (0.05 + 0.16 * size) * side, second if k % 2 else third)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _fade(picture: np.ndarray, first: Color, second: Color) -> None:
    rows = np.linspace(0, 1, picture.shape[0])[:, None, None]
    picture[:] = np.rint(np.array(first) * (1 - rows) + np.array(second) * rows).astype(np.uint8)


def _disc(picture: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    center = (round(x * 16), round(y * 16))
    cv2.circle(picture, center, round(radius * 16), color, -1, cv2.LINE_8, 4)


def _darker(color: Color) -> Color:
    return tuple(int(value * 0.8) for value in color)
