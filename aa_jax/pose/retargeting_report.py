"""What retargeting measured, and where its result is doubtful."""

from __future__ import annotations

import dataclasses
from typing import Any

from aa_jax.pose.bones import BoneRatio

_DOUBTFUL_RATIO = 1.6
_DOUBTFUL_ASYMMETRY = 1.5
_RARELY_SEEN = 0.1
_OFTEN_OUTSIDE = 0.2


@dataclasses.dataclass(frozen=True)
class RetargetingReport:
    """Every ratio of a retargeted clip; printing it gives a table with its warnings.

    Attributes:
      method: `bones` or `affine`.
      fallback: whether `affine` was chosen for want of bones to compare.
      anchor: what was placed at the reference: `ground`, `neck` or `all joints`.
      anchor_asked: what the caller asked for.
      driver_frame, reference_frame: the frames whose poses were found the most alike.
      scale: of the whole body, reference pixels per driver pixel.
      bones: the comparison of every kind of bone.
      outside: share of the visible body joints that lie outside the reference picture.
    """

    method: str
    fallback: bool
    anchor: str
    anchor_asked: str
    driver_frame: int
    reference_frame: int
    scale: float
    bones: tuple[BoneRatio, ...]
    outside: float

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, a line each."""
        lines = []
        if self.fallback:
            lines.append(
                "too few bones are seen in both clip and reference to compare them one by one; "
                "the whole figure was scaled and shifted"
            )
        if self.anchor_asked == "ground" and self.anchor != "ground":
            lines.append("the ankles are not seen, so the ground is not known")
        for bone in self.bones if self.method == "bones" else ():
            lines += _doubts(bone)
        if self.outside > _OFTEN_OUTSIDE:
            lines.append(
                f"{self.outside:.0%} of the joints lie outside the reference picture; choose a "
                "driving clip that keeps its place, or a wider picture"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Everything, warnings included, as JSON can hold it."""
        return {**dataclasses.asdict(self), "warnings": self.warnings}

    def __str__(self) -> str:
        head = (
            f"retargeting by {self.method}, anchored at {self.anchor}, scale {self.scale:.3f}\n"
            f"{'bone':<13} {'driver':>8} {'reference':>9} {'ratio':>7} {'relative':>8}"
        )
        rows = [
            f"{bone.name:<13} {bone.driver:>8.1f} {bone.reference:>9.1f} {bone.ratio:>7.3f} "
            + (f"{bone.relative:>8.2f}" if bone.measured else " assumed")
            for bone in self.bones
        ]
        return "\n".join([head, *rows, *(f"warning: {line}" for line in self.warnings)])


def _doubts(bone: BoneRatio) -> list[str]:
    if not bone.measured:
        if bone.name == "hand":  # many pictures show none that could be measured
            return []
        place = "reference" if bone.driver else "driving clip"
        return [f"{bone.name}: not seen in the {place}; scaled like the whole body"]
    lines = []
    if len(bone.reference_sides) == 1 and bone.name != "neck to nose":
        side = bone.reference_sides[0]
        lines.append(f"{bone.name}: only the {side} one is seen in the reference; both take it")
    if bone.clamped or not 1 / _DOUBTFUL_RATIO <= bone.relative <= _DOUBTFUL_RATIO:
        held = ", held back at the limit" if bone.clamped else ""
        short = "reference" if bone.relative < 1 else "driving clip"
        lines.append(
            f"{bone.name}: {bone.relative:.2f} times the body's scale{held}; does it point at the "
            f"camera in the {short}?"
        )
    if bone.asymmetry > _DOUBTFUL_ASYMMETRY:
        lines.append(
            f"{bone.name}: one side is {bone.asymmetry:.1f} times as long as the other in the "
            "reference; the longer one counts"
        )
    if bone.driver_seen < _RARELY_SEEN:
        lines.append(f"{bone.name}: seen in {bone.driver_seen:.0%} of the driving frames only")
    return lines
