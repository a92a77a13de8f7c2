"""Batch norms of trained networks, which are part of the convolutions before them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Channels = Float[np.ndarray, " f"]

EPSILON = {"i3d": 1e-3, "inception": 1e-3, "resnet3d": 1e-5}
"""What the norms of each network add to variances."""


def folded(
    kernel: Float[np.ndarray, "*taps c f"],
    *,
    mean: Channels,
    variance: Channels,
    shift: Channels,
    scale: Channels | None = None,
    epsilon: float,
) -> tuple[Float[np.ndarray, "*taps c f"], Channels]:
    """Kernel and bias of a convolution that computes a convolution without bias and its norm.

    In float64, so that only the result is rounded.

    Args:
      kernel: of the convolution.
      mean: running mean of the norm.
      variance: its running variance.
      shift: its bias.
      scale: its weight; None: ones.
      epsilon: what it adds to variances.
    """
    factor = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    if scale is not None:
        factor = factor * scale
    bias = shift - mean * factor
    return (kernel * factor).astype(np.float32), bias.astype(np.float32)
