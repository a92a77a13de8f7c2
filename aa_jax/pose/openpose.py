"""OpenPose's JSON, written: one file, or a folder of one file per frame."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from aa_jax import files
from aa_jax.pose.layout import POINT_SHAPES


def write_openpose(path: pathlib.Path, fields: dict[str, Any]) -> None:
    """Writes the fields of `Keypoints` whole or not at all.

    Args:
      path: a `.json` that gets all frames, or a folder that gets one `NNNNNN_keypoints.json` each.
    """
    head = {
        "version": 1.3,
        "canvas_width": fields["width"],
        "canvas_height": fields["height"],
        "fps": fields["fps"],
    }
    frames = [{"people": _people(fields, t)} for t in range(len(fields["body"]))]
    if path.suffix == ".json":
        files.write_text(path, json.dumps({**head, "frames": frames}))
        return
    with files.replacing(path) as folder:
        for t, frame in enumerate(frames):
            (folder / f"{t:06d}_keypoints.json").write_text(json.dumps({**head, **frame}))


def _people(fields: dict[str, Any], t: int) -> list[dict[str, Any]]:
    """The one person of a frame, or no one."""
    if not any((fields[name][t] > 0).any() for name in POINT_SHAPES if name.endswith("scores")):
        return []
    parts = {
        "pose": (fields["body"][t], fields["body_scores"][t]),
        "face": (fields["face"][t], fields["face_scores"][t]),
        "hand_left": (fields["hands"][t, 0], fields["hand_scores"][t, 0]),
        "hand_right": (fields["hands"][t, 1], fields["hand_scores"][t, 1]),
    }
    rows = {name: np.column_stack(part).astype(np.float64) for name, part in parts.items()}
    return [{f"{name}_keypoints_2d": np.round(r, 4).ravel().tolist() for name, r in rows.items()}]
