"""Picture metrics on 8-bit RGB, computed in float64."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

Picture = UInt8[np.ndarray, "h w 3"]


def psnr(target: Picture, result: Picture, mask: Bool[np.ndarray, "h w"] | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over the mask's pixels if one is given.

    Equal pictures give the ratio of a mean squared error of 1e-10, so that means stay finite.
    """
    squared = np.square(target.astype(np.float64) - result.astype(np.float64))
    error = squared.mean() if mask is None else squared[mask].mean()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def ssim(target: Picture, result: Picture) -> float:
    """Structural similarity as scikit-image computes it, over colour channels."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(target, result, channel_axis=-1))
