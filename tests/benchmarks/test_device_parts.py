"""Attention is measured at the shapes of the UNet."""

from benchmarks.device_parts import levels
from benchmarks.workloads import WORKLOADS


def test_levels_are_stable_diffusions():
    found = levels(WORKLOADS["gpu"], 512)

    assert found == [(4096, 40), (1024, 80), (256, 160), (64, 160)]
