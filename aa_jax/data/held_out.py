"""Characters that training never sees, as validation and evaluation use them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from aa_jax.config import RunConfig
from aa_jax.data import puppets
from aa_jax.pose import drawing

REFERENCE_FRAME = 40
"""The reference picture's frame; targets are the clip's first frames, far from it."""


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
    """Renders the first `characters` evaluation clips of a seed at the config's size."""
    size = {"width": config.data.width, "height": config.data.height}
    clips = puppets.PuppetClips(split="eval", seed=seed, clips=characters)
    rendered = []
    for index in range(characters):
        clip, indices = clips[index], range(frames)
        pictures, masks = clip.render([REFERENCE_FRAME, *indices], **size)
        keypoints = clip.keypoints(indices, **size)
        skeletons = drawing.draw_keypoints(keypoints, style=config.skeleton, **size)
        rendered.append((pictures[0], pictures[1:], skeletons, masks[1:] | masks[:1]))
    return HeldOutClips(*(np.stack(parts) for parts in zip(*rendered, strict=True)))
