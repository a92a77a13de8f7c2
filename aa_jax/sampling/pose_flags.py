"""Flags about poses that would do nothing for the poses given are refused, not passed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aa_jax.config import ConfigError
from aa_jax.files import numbered
from aa_jax.media.pictures import SUFFIXES as PICTURE_SUFFIXES
from aa_jax.pose import detectors
from aa_jax.pose.reading import OPENPOSE_SUFFIX, SUFFIX, holds_keypoints

if TYPE_CHECKING:
    from aa_jax.sampling.request import PoseSource

Kind = Literal["video", "people", "one person", "pictures"]
"""A driving video; keypoints of any number of people; an `.npz`; skeletons drawn already."""

_DETECTING = ("detector", "dwpose", "pose_models")
_NO_EFFECT: dict[Kind, dict[str, str]] = {
    "video": {"poses_size": "--driving, whose own size counts"},
    "people": dict.fromkeys(_DETECTING, "keypoints, in which nothing is detected"),
    "one person": {
        **dict.fromkeys(_DETECTING, "keypoints, in which nothing is detected"),
        "person": "an .npz, which holds one person",
        "poses_size": "an .npz, which says its own size",
    },
    "pictures": dict.fromkeys(
        (
            *_DETECTING, "person", "smoothing", "poses_size", "reference_poses", "retargeting",
            "anchor",
        ),
        "skeletons that are pictures",
    ),
}  # fmt: skip


def kind_of(path: Path) -> Kind:
    """What a file or folder of `--poses` holds, by its name and the names in it."""
    if not holds_keypoints(path):
        return "pictures"
    if not path.is_dir():
        return "people" if path.suffix.lower() == SUFFIX else "one person"
    if not numbered(path, [OPENPOSE_SUFFIX]) and numbered(path, PICTURE_SUFFIXES):
        raise ConfigError(
            f"--poses {path}: holds both pictures and .json files; give a folder of one kind"
        )
    return "people"


def check(source: PoseSource) -> None:
    """Raises `ConfigError`, in one line, for a flag that would have no effect."""
    if not source.driving and not source.path.exists():
        return  # which is said where it is opened
    kind: Kind = "video" if source.driving else kind_of(source.path)
    for flag, reason in _NO_EFFECT[kind].items():
        if getattr(source, flag) is not None:
            raise ConfigError(f"--{flag} has no effect on {reason}; leave it out")
    if kind == "video":
        detectors.check_flags(source.detector or "auto", source.dwpose, source.pose_models)
    if kind != "video" and source.reference_poses is None:
        for flag in ("retargeting", "anchor"):
            if getattr(source, flag) is not None:
                raise ConfigError(
                    f"--{flag} has no effect without --reference_poses or --driving: nothing is "
                    "fitted to the reference's body"
                )
    if source.retargeting == "none" and source.reference_poses is not None:
        raise ConfigError("--reference_poses has no effect with --retargeting none")
    if source.retargeting in ("none", "affine") and source.anchor is not None:
        raise ConfigError(f"--anchor has no effect with --retargeting {source.retargeting}")
