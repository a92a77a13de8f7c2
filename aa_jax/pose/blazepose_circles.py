"""Circles around bodies from frame to frame, steadied so that what the networks see keeps still.

A One-Euro filter (Casiez et al. 2012) with MediaPipe's constants: speeds are measured in bodies per
second, at 30 frames per second whatever the video's rate is, as mediapipe's Python interface does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aa_jax.pose.blazepose_regions import body_regions

_FPS = 30.0
_LEAST_CUTOFF, _BETA, _SPEED_CUTOFF = 0.01, 10.0, 1.0  # Hz, seconds per body, Hz

Circle = Float[np.ndarray, "n 2 2"]


class Circles(NamedTuple):
    """Of n bodies the middle of the hips and a point on the circle around the body.

    Attributes:
      measured: [n, 2, 2] pixels, in the last frame.
      steady: [n, 2, 2] pixels, filtered.
      speeds: [n, 2, 2] bodies per second, filtered.
    """

    measured: Circle
    steady: Circle
    speeds: Circle

    @classmethod
    def begun(cls, measured: Circle) -> Circles:
        """Of bodies seen for the first time."""
        return cls(measured, measured, np.zeros_like(measured))

    @classmethod
    def unpacked(cls, rows: Float[np.ndarray, "n 12"]) -> Circles:
        """What `packed` returned."""
        return cls(*np.moveaxis(rows.reshape(-1, 3, 2, 2), 1, 0))

    def packed(self) -> Float[np.ndarray, "n 12"]:
        """One row of numbers per body."""
        return np.stack(self, 1).reshape(-1, 12)

    def regions(self) -> Float[np.ndarray, "n 4"]:
        """Where the bodies are looked for in the next frame."""
        return body_regions(self.steady)

    def moved(self, measured: Circle) -> Circles:
        """With the next frame's circles of the same bodies."""
        diameters = 2 * np.linalg.norm(measured[:, 1] - measured[:, 0], axis=-1)
        diameters = np.maximum(diameters, 1e-6)[:, None, None]
        speeds = (measured - self.measured) / diameters * _FPS
        speeds = self.speeds + _share(_SPEED_CUTOFF) * (speeds - self.speeds)
        share = _share(_LEAST_CUTOFF + _BETA * abs(speeds))
        return Circles(measured, self.steady + share * (measured - self.steady), speeds)

    def chosen(self, which: np.ndarray) -> Circles:
        """Those of some bodies, by a mask or indices."""
        return Circles(*(field[which] for field in self))

    def joined(self, others: Circles) -> Circles:
        """These, then others."""
        return Circles(*map(np.concatenate, zip(self, others, strict=True)))


def _share(cutoff: float | np.ndarray) -> float | np.ndarray:
    """Weight of a new value in a low-pass filter of a cutoff in Hz."""
    return 1 / (1 + _FPS / (2 * np.pi * cutoff))
