"""HDR and wide-gamut pictures as BT.709 ones, so that white is white and skin is skin.

signal -> light        the inverse of the transfer function; HLG with its system gamma of 1.2,
                       as a display of 1000 cd/m2 shows it (ITU-R BT.2100)
primaries              BT.2020 or P3 to BT.709 by a matrix; what lies outside is cut at 0
light -> SDR white     203 cd/m2, HDR's reference white (ITU-R BT.2408), is 1. Up to 0.9 light
                       stays as it is; above, y = 1 - 0.1 exp(-(x - 0.9) / 0.1), of the largest
                       of the three channels, so that hues stay. White paper, 203 cd/m2, becomes
                       0.963, which is 251 of 255, and what is brighter shares the rest.
light -> signal        a gamma of 2.4, that of SDR displays (ITU-R BT.1886)
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

Transfer = Literal["PQ", "HLG", "gamma"]
Primaries = Literal["BT.2020", "P3", "BT.709"]

WHITE = 203.0
"""Light of HDR's reference white, in cd/m2."""

_KNEE = 0.9
_FULL = 65280  # 255 * 256: what FFmpeg's scaler makes of a full signal in 16 bits
_STEPS = 4096
_BAND = 1 << 15  # pixels done at once, which fit a core's cache

# Chromaticities of red, green, blue; white is D65 in all three.
_PRIMARIES = {
    "BT.709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


def to_bt709(
    picture: UInt16[np.ndarray, "h w 3"], transfer: Transfer, primaries: Primaries
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of any of these transfer functions and primaries as BT.709 in 8 bits.

    Args:
      picture: RGB signal, full range, 65280 (255 * 256) being 1.
      transfer: `gamma` is SDR: its colours are turned, its light is kept.
      primaries: of the picture.
    """
    height, width, _ = picture.shape
    flat = picture.reshape(-1, 3)
    result = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _BAND):
        result[start : start + _BAND] = _band(flat[start : start + _BAND], transfer, primaries)
    return result.reshape(height, width, 3)


def _band(
    pixels: UInt16[np.ndarray, "n 3"], transfer: Transfer, primaries: Primaries
) -> UInt8[np.ndarray, "n 3"]:
    light = _light(transfer)[pixels >> 4]
    if transfer == "HLG":
        luminance = light @ _to_xyz(primaries)[1]
        light *= (1000 / WHITE) * (luminance**0.2)[:, None]
    light = np.maximum(light @ _to_xyz(primaries).T @ _from_xyz().T, 0)
    if transfer != "gamma":
        peak = light.max(axis=1)
        bright = np.flatnonzero(peak > _KNEE)
        peak = peak[bright]
        shown = 1 - (1 - _KNEE) * np.exp(-(peak - _KNEE) / (1 - _KNEE))
        light[bright] *= (shown / peak)[:, None]
    # The root spreads the dark steps, of which 4096 of light itself would hold too few.
    steps = np.sqrt(np.minimum(light, 1)) * (_STEPS - 1) + 0.5
    return _signal()[steps.astype(np.int16)]


@functools.cache
def _light(transfer: Transfer) -> Float32[np.ndarray, " n"]:
    """Light of a signal in 4096 steps: of white for PQ and gamma, of the scene from 0 to 1, HLG."""
    signal = np.minimum((np.arange(_STEPS) * 16 + 8) / _FULL, 1)
    signal[0] = 0
    if transfer == "gamma":
        light = signal**2.4
    elif transfer == "PQ":  # SMPTE ST 2084
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = signal ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)


@functools.cache
def _signal() -> UInt8[np.ndarray, " n"]:
    """The 8-bit signal of light whose root is given in 4096 steps."""
    return np.round(255 * np.linspace(0, 1, _STEPS) ** (2 / 2.4)).astype(np.uint8)


@functools.cache
def _to_xyz(primaries: Primaries) -> Float32[np.ndarray, "3 3"]:
    """The matrix from RGB to CIE XYZ; its second row weighs luminance."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in _PRIMARIES[primaries]]).T
    x, y = _D65
    white = np.array([x / y, 1, (1 - x - y) / y])
    return (columns * np.linalg.solve(columns, white)).astype(np.float32)


@functools.cache
def _from_xyz() -> Float32[np.ndarray, "3 3"]:
    return np.linalg.inv(_to_xyz("BT.709")).astype(np.float32)
