"""Where clips come from: the puppet world, or a dataset of `prepare.py`, behind one interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from aa_jax.config import DataConfig
from aa_jax.data.dataset import open_dataset
from aa_jax.data.geometry import Size
from aa_jax.pose.keypoints import Keypoints
from aa_jax.puppets import clips as puppets
from aa_jax.puppets.motion import FPS

PUPPETS = "puppets"

PUPPET_CLIP_FRAMES = 64
"""Frames of a puppet clip that training draws from; the motion itself is endless."""


class Clip(Protocol):
    """A clip of one person.

    Attributes:
      length: frames.
      fps: frames per second.
    """

    length: int
    fps: float

    def pictures(self, frames: Sequence[int], size: Size) -> UInt8[np.ndarray, "t h w 3"]:
        """Frames at a size (width, height)."""

    def keypoints(self, frames: Sequence[int], size: Size) -> Keypoints:
        """Keypoints of frames in pixels of that size."""


class Source(Protocol):
    """Clips by index; can be sent to worker processes."""

    def __len__(self) -> int: ...

    def clip(self, index: int) -> Clip: ...


@dataclasses.dataclass(frozen=True)
class _PuppetClip:
    puppet: puppets.PuppetClip
    length: int = PUPPET_CLIP_FRAMES
    fps: float = FPS

    def pictures(self, frames: Sequence[int], size: Size) -> UInt8[np.ndarray, "t h w 3"]:
        return self.puppet.render(frames, *size)[0]

    def keypoints(self, frames: Sequence[int], size: Size) -> Keypoints:
        return self.puppet.keypoints(frames, *size)


@dataclasses.dataclass(frozen=True)
class _Puppets:
    clips: puppets.PuppetClips

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> _PuppetClip:
        return _PuppetClip(self.clips[index])


def open_source(config: DataConfig, split: str = "train") -> Source:
    """The clips `config.source` names.

    Raises:
      DatasetError: it names no finished dataset, or one without the split.
    """
    if config.source == PUPPETS:
        return _Puppets(puppets.PuppetClips(split=split, seed=config.seed, clips=config.clips))
    return open_dataset(Path(config.source), split)
