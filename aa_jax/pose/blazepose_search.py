"""Where in a picture people are looked for: all of it, and overlapping tiles for small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from aa_jax.pose import blazepose
from aa_jax.pose.blazepose import Found

_LEAST_TILE = 160  # pixels; the detector finds people from a fifth of its square on
_MOST_HALVINGS = 2
_OVERLAP_THRESHOLD = 0.3
_OUTSIDE = 0.05  # of a body's circle, as a share of its diameter, beyond a tile that cuts it


class Tile(NamedTuple):
    """A part of a picture: upper left corner and size, pixels."""

    x: int
    y: int
    width: int
    height: int


def tiles_of(width: int, height: int, halvings: int = _MOST_HALVINGS) -> list[list[Tile]]:
    """The whole picture, then tiles of half, a quarter, ... of its longer side.

    Neighbours share half their side, so that whoever is smaller than that lies whole in one.

    Args:
      halvings: how many smaller sizes there may be; none is below 160 pixels.

    Returns:
      One list per size, largest first.
    """
    levels = [[Tile(0, 0, width, height)]]
    for halving in range(1, halvings + 1):
        side = max(width, height) // 2**halving
        if side < _LEAST_TILE:
            break
        levels.append(
            [
                Tile(x, y, min(side, width), min(side, height))
                for y in _starts(height, side)
                for x in _starts(width, side)
            ]
        )
    return levels


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def search(
    picture: UInt8[np.ndarray, "h w 3"],
    tiles: Sequence[Tile],
    detect: Callable[[np.ndarray], list[np.ndarray]],
) -> Found:
    """Everyone the detector finds in tiles of a picture, each once, best first.

    Args:
      detect: the network, of pictures [n, 224, 224, 3].
    """
    height, width = picture.shape[:2]
    views = [picture[y : y + h, x : x + w] for x, y, w, h in tiles]
    squares = np.stack([blazepose.square(view) for view in views])
    outputs, logits = detect(squares.astype(np.float32) / 127.5 - 1)
    parts = [
        _whole(blazepose.found_in(*pair, (tile.width, tile.height)), tile, width, height)
        for *pair, tile in zip(outputs, logits[..., 0], tiles, strict=True)
    ]
    scores, faces, points = map(np.concatenate, zip(*parts, strict=True))
    kept = _distinct(scores, faces)
    return Found(scores[kept], faces[kept], points[kept])


def _whole(found: Found, tile: Tile, width: int, height: int) -> Found:
    """Those that a tile does not cut off, in pixels of the picture.

    Of a body that it cuts off too little is seen; a larger or a neighbouring tile shows it whole.
    """
    centers, ends = found.points[:, 0], found.points[:, 1]
    radii = np.linalg.norm(ends - centers, axis=-1) * (1 - 2 * _OUTSIDE)
    inside = (
        ((centers[:, 0] - radii >= 0) | (tile.x == 0))
        & ((centers[:, 1] - radii >= 0) | (tile.y == 0))
        & ((centers[:, 0] + radii <= tile.width) | (tile.x + tile.width == width))
        & ((centers[:, 1] + radii <= tile.height) | (tile.y + tile.height == height))
    )
    corner = np.array([tile.x, tile.y], np.float64)
    return Found(
        found.scores[inside],
        found.faces[inside] + np.tile(corner, 2),
        found.points[inside] + corner,
    )


def _distinct(scores: Float[np.ndarray, " n"], faces: Float[np.ndarray, "n 4"]) -> list[int]:
    """Indices, best first, of the faces that no better one overlaps."""
    order = scores.argsort(kind="stable")[::-1]
    kept: list[int] = []
    while order.size:
        kept.append(int(order[0]))
        far = blazepose.overlaps(faces[order[0]], faces[order]) <= _OVERLAP_THRESHOLD
        far[0] = False
        order = order[far]
    return kept
