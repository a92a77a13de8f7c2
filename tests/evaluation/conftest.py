"""Folders of small clips, and networks that need no weights."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_clips import moving, shifted, write_frames

from aa_jax.evaluation.networks import Networks


@pytest.fixture
def clips(tmp_path):
    """Folders `true` and `made` of the clips `a` and `b`, the latter one pixel off."""
    for name, frames in (("a", 3), ("b", 2)):
        write_frames(tmp_path / "true" / name, moving(frames))
        write_frames(tmp_path / "made" / name, shifted(moving(frames)))
    return tmp_path


class MeanColour:
    """Stands for I3D: a clip's mean colours and their squares, of each of its first two frames."""

    takes, width, origin = "clips", 12, SimpleNamespace(sha256="0" * 64)

    def __call__(self, samples):
        colours = samples[:, :2].astype(np.float64).mean((2, 3)) / 255
        return np.concatenate([colours, colours**2], -1).reshape(len(samples), -1)


@pytest.fixture
def networks():
    return Networks({}, {"fvd": MeanColour()}, {"lpips_alex": "no weights here"})
