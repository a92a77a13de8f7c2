"""Contact sheets of the best, the median and the worst clip of a result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from aa_jax.experiments.report import Sheet
from aa_jax.experiments.results import Result
from aa_jax.media import pictures

Clip = UInt8[np.ndarray, "t h w 3"]

FRAMES, SIDE = 8, 192
"""Frames shown of a clip, and the longer side of each, to which larger ones are shrunk."""

RANKED_BY = (("lpips_alex", False), ("psnr", True))
"""The first that there is, and whether more of it is better."""


def best_median_worst(
    result: Result, clip_of: Callable[[str], tuple[Clip, Clip]]
) -> tuple[Sheet, ...]:
    """Sheets of true frames over generated ones.

    Args:
      result: figures of every clip.
      clip_of: true and generated frames of a clip's name.
    """
    metric, higher = next(
        (metric, higher) for metric, higher in RANKED_BY if metric in result.per_clip[0]
    )
    ranked = sorted(result.per_clip, key=lambda clip: clip[metric], reverse=higher)
    places = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    if len(ranked) < 3:
        places = {0: "best", len(ranked) - 1: "worst"} if len(ranked) == 2 else {0: "only"}
    sheets = []
    for place, what in sorted(places.items()):
        clip = ranked[place]
        title = f"{result.name}: {what} clip by {metric}, {clip['name']} ({clip[metric]:.4g})"
        rows = [_shown(frames) for frames in clip_of(clip["name"])]
        sheets.append(Sheet(title, pictures.contact_sheet(rows)))
    return tuple(sheets)


def _shown(frames: Clip) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Some frames, evenly picked, small enough for a sheet."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    height, width = frames.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return [pictures.resize(frames[index], *size) for index in chosen]
