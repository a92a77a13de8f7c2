"""Characters that training never sees, as validation and evaluation use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from aa_jax.config import RunConfig
from aa_jax.data.dataset import describe, open_dataset
from aa_jax.data.geometry import Size
from aa_jax.data.sources import PUPPETS
from aa_jax.pose import drawing
from aa_jax.puppets import clips as puppets

REFERENCE_FRAME = 40
"""The reference picture's frame of puppets; targets are the clip's first frames, far from it."""


class HeldOutClips(NamedTuple):
    """Clips of n characters, t frames each.

    Attributes:
      references: the reference pictures.
      targets: true frames.
      skeletons: skeleton pictures of the targets.
      masks: where the character is in the target or in the reference.
    """

    references: UInt8[np.ndarray, "n h w 3"]
    targets: UInt8[np.ndarray, "n t h w 3"]
    skeletons: UInt8[np.ndarray, "n t h w 3"]
    masks: Bool[np.ndarray, "n t h w"]


def held_out_clips(config: RunConfig, *, seed: int, characters: int, frames: int) -> HeldOutClips:
    """The first evaluation clips at the config's size.

    In the puppet world they are drawn, `characters` of them, from the evaluation characters of a
    seed. Of a dataset they are those of its split `test`, or of `train` where it has no other, as
    many as there are; the character is taken to be inside a box around its joints.

    Raises:
      DatasetError: `config.data.source` is no dataset.
    """
    make = _puppets if config.data.source == PUPPETS else _dataset_clips
    return HeldOutClips(*map(np.stack, zip(*make(config, seed, characters, frames), strict=True)))


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""One clip's entries of `HeldOutClips`."""


def _puppets(config: RunConfig, seed: int, characters: int, frames: int) -> Iterator[Parts]:
    size = {"width": config.data.width, "height": config.data.height}
    clips = puppets.PuppetClips(split="eval", seed=seed, clips=characters)
    for index in range(characters):
        clip, indices = clips[index], range(frames)
        pictures, masks = clip.render([REFERENCE_FRAME, *indices], **size)
        keypoints = clip.keypoints(indices, **size)
        skeletons = drawing.draw_keypoints(keypoints, style=config.skeleton, **size)
        yield pictures[0], pictures[1:], skeletons, masks[1:] | masks[:1]


def _dataset_clips(config: RunConfig, _: int, characters: int, frames: int) -> Iterator[Parts]:
    folder, size = config.data.source, (config.data.width, config.data.height)
    split = "test" if "test" in describe(Path(folder))["splits"] else "train"
    clips = open_dataset(folder, split)
    for index in range(min(characters, len(clips))):
        clip = clips.clip(index)
        # The reference lies as far from the targets, the first frames, as the clip allows.
        indices = np.minimum([clip.length - 1, *range(frames)], clip.length - 1)
        pictures, keypoints = clip.pictures(indices, size), clip.keypoints(indices, size)
        visible = keypoints.body_scores > config.skeleton.threshold
        masks = np.stack([_box_mask(*p, size) for p in zip(keypoints.body, visible, strict=True)])
        skeletons = drawing.draw_keypoints(keypoints[1:], *size, style=config.skeleton)
        yield pictures[0], pictures[1:], skeletons, masks[1:] | masks[:1]


def _box_mask(
    points: Float[np.ndarray, "18 2"], visible: Bool[np.ndarray, " 18"], size: Size
) -> Bool[np.ndarray, "h w"]:
    """A box around the visible joints, a tenth of its longer side wider; all, if there are none."""
    width, height = size
    mask = np.zeros((height, width), bool)
    if not visible.any():
        return ~mask
    low, high = points[visible].min(0), points[visible].max(0)
    margin = 0.1 * (high - low).max() + 1
    left, top = np.floor(np.clip(low - margin, 0, [width - 1, height - 1])).astype(int)
    right, bottom = np.ceil(np.clip(high + margin, 1, size)).astype(int)
    mask[top:bottom, left:right] = True
    return mask
