"""Fabric patterns of the puppets' clothes, and the wallpapers behind them.

A pattern is a function of fabric coordinates: `u` to the wearer's side and `v` down the body part,
both in repeats of the pattern. It returns how much of the second colour (0 to 1) shows, or which
of three colours. Patterns are sampled on the body part's own grid, so they move with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(u, v), broadcastable to [h, w], in repeats -> [h, w] colour index 0, 1 or 2 (may be between)."""


def _stripe(x: np.ndarray, share: float = 0.5) -> np.ndarray:
    """1 on the first `share` of every repeat."""
    return (x % 1.0 < share).astype(np.float32)


def _cell(x: np.ndarray) -> np.ndarray:
    """Distance from the middle of the repeat, -0.5 to 0.5."""
    return x % 1.0 - 0.5


def horizontal_stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe(v) + 0 * u


def vertical_stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe(u + 0.25) + 0 * v


def diagonal_stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe((u + v) * 0.75)


def sailor_stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 2 * _stripe(v * 0.5, 0.25) + _stripe(v * 0.5 + 0.5, 0.25) + 0 * u


def checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(_stripe(u * 0.75) - _stripe(v * 0.75))


def plaid(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe(u * 0.7, 0.4) + _stripe(v * 0.7, 0.4)


def dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v)
    return ((_cell(u + 0.5 * row) ** 2 + _cell(v) ** 2) < 0.1).astype(np.float32)


def rings(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius = np.hypot(_cell(u * 0.6), _cell(v * 0.6))
    return ((radius > 0.2) & (radius < 0.4)) * 1.0 + 2.0 * (radius < 0.1)


def chevron(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe(v * 0.8 + np.abs(_cell(u * 0.5)) * 1.4)


def diamonds(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.abs(_cell(u * 0.6)) + np.abs(_cell(v * 0.45)) < 0.33).astype(np.float32)


def waves(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _stripe(v * 0.8 + 0.25 * np.sin(u * 3.5))


def stars(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = _cell(u * 0.6), _cell(v * 0.6)
    point = np.abs(np.arctan2(x, -y) * (2.5 / np.pi) % 1.0 - 0.5) * 2  # 1 at a tip, 0 between
    return (np.hypot(x, y) < 0.2 + 0.26 * point**1.4).astype(np.float32)


def hearts(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = _cell(u * 0.6) * 3.2, -_cell(v * 0.6) * 3.2
    return ((x**2 + y**2 - 1) ** 3 - x**2 * y**3 < 0).astype(np.float32)


def emblem(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One big mark on the chest: a disc with a heart of the third colour."""
    x, y = u * 0.45, (v - 1.9) * 0.45
    heart = (x * 1.8) ** 2 + (1.9 * (-y) - 0.7 * np.sqrt(np.abs(x))) ** 2 < 0.3
    return np.where(heart, 2.0, (x**2 + y**2 < 0.8) * 1.0)


def gradient(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.clip(v * 0.28, 0.0, 1.0) + 0 * u


def blocks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.where(v > 2.2, 2.0, (u > 0) * 1.0)


def crosses(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = np.abs(_cell(u * 0.65)), np.abs(_cell(v * 0.65))
    return ((np.minimum(x, y) < 0.12) & (np.maximum(x, y) < 0.36)).astype(np.float32)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (
        horizontal_stripes,
        vertical_stripes,
        diagonal_stripes,
        sailor_stripes,
        checks,
        plaid,
        dots,
        rings,
        chevron,
        diamonds,
        waves,
        stars,
        hearts,
        emblem,
        gradient,
        blocks,
        crosses,
    )
}


# [65, 3]: shares of the three colours at indices 0, 1/32, ..., 2.
_MIX = np.maximum(1 - np.abs(np.linspace(0, 2, 65)[:, None] - np.arange(3)), 0).astype(np.float32)


def paint(pattern: str, u: np.ndarray, v: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A piece of fabric.

    Args:
      pattern: a name of `PATTERNS`, or `plain`.
      u: [1, w] across, v: [h, 1] along, in repeats of the pattern.
      colors: [3, 3] red, green, blue (0 to 255) of the three colours.

    Returns:
      [h, w, 3] uint8.
    """
    if pattern == "plain":
        return np.broadcast_to(colors[0].astype(np.uint8), (v.shape[0], u.shape[1], 3)).copy()
    index = PATTERNS[pattern](u, v)
    table = (_MIX @ colors).astype(np.uint8)
    return table[(np.clip(index, 0, 2) * 32).astype(np.uint8)]
