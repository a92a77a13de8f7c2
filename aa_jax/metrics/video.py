"""Metrics of generated clips against true ones, on 8-bit RGB in float64."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, UInt8

from aa_jax.metrics import image

Clip = UInt8[np.ndarray, "t h w 3"]


def clip_metrics(target: Clip, result: Clip, mask: Bool[np.ndarray, "t h w"]) -> dict[str, float]:
    """Metrics of one clip.

    Args:
      target: true frames.
      result: generated frames.
      mask: where the character is, in the true frame or in the reference picture.

    Returns:
      Means over frames: `psnr` and `ssim` of the whole frame, `character_psnr` over the mask,
      `mae`, mean absolute error; and over frame-to-frame changes: `temporal_error`, mean absolute
      difference of result's and target's, `background_flicker`, mean absolute change of the result
      where no frame has a character. The last three are fractions of the full range.
    """
    frames = list(zip(target, result, mask, strict=True))
    true, ours = target.astype(np.float64) / 255, result.astype(np.float64) / 255
    change = np.diff(ours, axis=0)
    return {
        "psnr": _mean(image.psnr(a, b) for a, b, _ in frames),
        "ssim": _mean(image.ssim(a, b) for a, b, _ in frames),
        "character_psnr": _mean(image.psnr(a, b, m) for a, b, m in frames),
        "mae": float(np.abs(true - ours).mean()),
        "temporal_error": float(np.abs(change - np.diff(true, axis=0)).mean()),
        "background_flicker": float(np.abs(change[:, ~mask.any(axis=0)]).mean()),
    }


def mean_metrics(
    targets: Iterable[Clip], results: Iterable[Clip], masks: Iterable[np.ndarray]
) -> dict[str, float]:
    """`clip_metrics` averaged over clips of equal length."""
    clips = [clip_metrics(*clip) for clip in zip(targets, results, masks, strict=True)]
    return {name: _mean(clip[name] for clip in clips) for name in clips[0]}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
