"""Which clips are worth training on: every rule a number, every refusal counted by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from aa_jax.pose.keypoints import Keypoints

VISIBLE_SCORE = 0.3
"""Joints of a higher score count as visible, as in skeleton pictures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What a clip must be; the fields are flags of `prepare.py`.

    Attributes:
      min_frames: shortest clip.
      min_side: least shorter side, in pixels.
      max_crowded: largest share of frames with more than one person.
      max_empty: largest share of frames without a person.
      min_visible: least share of the 18 body joints that are visible, over frames with a person.
    """

    min_frames: int = 24
    min_side: int = 32
    max_crowded: float = 0.1
    max_empty: float = 0.1
    min_visible: float = 0.5


RULES: dict[str, str] = {
    "short": "fewer frames than --min-frames",
    "small": "shorter side below --min-side",
    "crowded": "more than one person in too many frames (--max-crowded)",
    "empty": "nobody in too many frames (--max-empty)",
    "hidden": "too few joints visible (--min-visible)",
}


def refusals(
    rules: Rules, keypoints: Keypoints, people: Int[np.ndarray, " t"]
) -> Sequence[tuple[str, str]]:
    """The rules a clip breaks, with the figure that breaks each; empty for a clip to keep.

    Args:
      keypoints: of the clip's frames, at the size the video has.
      people: persons found in each frame.
    """
    visible = keypoints.body_scores > VISIBLE_SCORE
    there = visible.any(1)
    crowded, empty = float((people > 1).mean()), float((~there).mean())
    joints = float(visible[there].mean()) if there.any() else 0.0
    side = min(keypoints.width, keypoints.height)
    found = {
        "short": (len(keypoints) < rules.min_frames, _frames(len(keypoints))),
        "small": (side < rules.min_side, f"shorter side of {side} pixels"),
        "crowded": (crowded > rules.max_crowded, f"several people in {crowded:.0%} of the frames"),
        "empty": (empty > rules.max_empty, f"nobody in {empty:.0%} of the frames"),
        "hidden": (joints < rules.min_visible, f"{joints:.0%} of the joints visible"),
    }
    return [(rule, figure) for rule, (broken, figure) in found.items() if broken]


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
