"""What the accelerators that people train on can do, from their vendors' data sheets."""

from __future__ import annotations

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device.

    Attributes:
      flops: dense bfloat16 FLOP/s.
      memory: bytes.
      memory_bandwidth: bytes per second.
      link_bandwidth: bytes per second out of the chip, one way, to its neighbours.
      kinds: what jax calls it (`jax.Device.device_kind`), as a regular expression.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    link_bandwidth: float
    kinds: str


GIB = 2**30

CHIPS = {
    "A100-40": Chip(312e12, 40 * GIB, 1.555e12, 300e9, r"A100.*40GB"),
    "A100-80": Chip(312e12, 80 * GIB, 2.039e12, 300e9, r"A100.*80GB"),
    "H100": Chip(989e12, 80 * GIB, 3.35e12, 450e9, r"H100.*HBM3"),
    "H200": Chip(989e12, 141e9, 4.8e12, 450e9, r"H200"),
    "TPU v4": Chip(275e12, 32 * GIB, 1.2e12, 150e9, r"TPU v4$"),
    "TPU v5e": Chip(197e12, 16 * GIB, 0.819e12, 100e9, r"TPU v5 ?(lite|e)$"),
    "TPU v5p": Chip(459e12, 95 * GIB, 2.765e12, 300e9, r"TPU v5p?$"),
    "TPU v6e": Chip(918e12, 32 * GIB, 1.64e12, 224e9, r"TPU v6 ?(lite|e)$"),
}


def find(device_kind: str) -> Chip | None:
    """The chip that jax reports under this name, if it is known."""
    for chip in CHIPS.values():
        if re.search(chip.kinds, device_kind):
            return chip
    return None
