"""Picture metrics on 8-bit RGB, computed in float64."""

from __future__ import annotations

from typing import Literal

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


def psnr_disco_uint8(target: Picture, result: Picture) -> float:
    """The ratio in dB as much of this field computed it: differences and squares of 8 bits.

    Both wrap around at 256, so that the error of any two pictures stays near 105 at most and the
    ratio above 27: 18.7 dB become 28.3. Equal pictures count as 100. As DisCo's code did until
    April 2024; only for rows beside published ones that were made so.
    """
    difference = target - result
    error = (difference * difference).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else 100.0


def ssim(
    target: Picture,
    result: Picture,
    *,
    colour: Literal["rgb", "grey"] = "rgb",
    window: Literal["uniform_7", "gaussian_11"] = "uniform_7",
) -> float:
    """Structural similarity as scikit-image computes it.

    Args:
      target: true picture.
      result: another of the same size, 7 pixels a side at least (11 for `gaussian_11`).
      colour: the mean over colour channels, or of the pictures in 8-bit grey.
      window: squares of 7 pixels with a sample's covariance, scikit-image's default; or a Gaussian
        of deviation 1.5 and 11 pixels with a population's, as in Wang et al. (2004).
    """
    from skimage.metrics import structural_similarity

    options = {}
    if window == "gaussian_11":
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    if colour == "grey":
        target, result = grey(target), grey(result)
    else:
        options["channel_axis"] = -1
    return float(structural_similarity(target, result, **options))


def l1(target: Picture, result: Picture) -> float:
    """Mean absolute error as a fraction of the full range, over pixels and colours."""
    return float(np.abs(target.astype(np.int16) - result).mean() / 255)


def grey(picture: Picture) -> UInt8[np.ndarray, "h w"]:
    """Luma of ITU-R BT.601 in 8 bits, as OpenCV rounds it."""
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
