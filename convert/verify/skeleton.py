"""Skeleton pictures: every pixel must be the same."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from aa_jax.config import SkeletonConfig
from aa_jax.media.pictures import read_picture
from aa_jax.pose.drawing import HAND_BONE_COLORS, draw_keypoints, draw_skeleton
from aa_jax.pose.dwpose import to_openpose
from aa_jax.pose.keypoints import Keypoints
from convert.verify.cases import Case, CaseError

FILE = "keypoints.npz"
WHOLE_BODY = "wholebody/"


def verify(case: Case) -> None:
    """Draws every entry of the case and compares the pictures, and what goes before drawing."""
    pictures = set()
    for entry in case.field("entries"):
        name = entry["name"]
        with case.attempt(name):
            draw = _DRAWERS.get(entry["kind"])
            if draw is None:
                raise CaseError(f"unknown kind {entry['kind']!r}; {', '.join(_DRAWERS)}")
            pictures.add(entry["png"])
            drawn = draw(case, entry)
            case.ledger.compare(entry["png"], drawn, read_picture(case.folder / entry["png"]))
    for path in sorted(case.folder.glob("*.png")):
        if path.name not in pictures:
            case.ledger.fail(path.name, "meta.json does not list this picture")
    if "hand_edge_colors_float" in case.meta:
        colors = case.meta["hand_edge_colors_float"]
        case.ledger.compare("hand_edge_colors_float", HAND_BONE_COLORS, colors, atol=1e-9)
    if any(name.startswith(WHOLE_BODY) for name in case.arrays(FILE)):
        with case.attempt("wholebody"):
            points, scores = to_openpose(
                case.read(FILE, f"{WHOLE_BODY}in_keypoints133"),
                case.read(FILE, f"{WHOLE_BODY}in_scores133"),
            )
            case.compare(FILE, f"{WHOLE_BODY}out_keypoints134", points)
            case.compare(FILE, f"{WHOLE_BODY}out_scores134", scores)


def _draw_people(case: Case, entry: dict[str, Any]) -> np.ndarray:
    candidate, subset, hands, faces = (
        case.read(FILE, f"{entry['name']}/{part}")
        for part in ("candidate", "subset", "hands", "faces")
    )
    rows = subset.astype(int)
    return draw_skeleton(
        candidate[np.maximum(rows, 0)],
        rows >= 0,
        hands,
        np.ones(hands.shape[:2], bool),
        faces,
        np.ones(faces.shape[:2], bool),
        width=entry["W"],
        height=entry["H"],
    )


def _draw_detected(case: Case, entry: dict[str, Any]) -> np.ndarray:
    """What the detector returns: one person, drawn at the detection's size and resized."""
    name = entry["name"]
    points, scores = (case.read(FILE, f"{name}/{part}") for part in ("keypoints", "scores"))
    best = scores[:, :18].mean(1).argmax()
    # 18 joints of the body, 6 points of feet, 68 of the face, 21 of each hand
    body, _, face, hands = np.split(points[best], [18, 24, 92])
    body_scores, _, face_scores, hand_scores = np.split(scores[best], [18, 24, 92])
    height, width = _rounded(entry["input_hw"], entry["detect_resolution"])
    keypoints = Keypoints(
        body=body[None],
        body_scores=body_scores[None],
        width=width,
        height=height,
        fps=1,
        hands=hands.reshape(1, 2, 21, 2),
        hand_scores=hand_scores.reshape(1, 2, 21),
        face=face[None],
        face_scores=face_scores[None],
    )
    # the original's second result
    case.compare(FILE, f"{name}/body_score", body_scores[None])
    style = SkeletonConfig(size=min(width, height), hands=True, face=True, threshold=0.3)
    picture = draw_keypoints(keypoints, width, height, style)[0]
    height, width = _rounded(entry["input_hw"], entry["image_resolution"])
    if [height, width] != entry["output_hw"]:
        raise CaseError(f"output_hw {entry['output_hw']} is not {[height, width]}")
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def _rounded(size: list[int], shorter: int) -> list[int]:
    """The size with a shorter side of so many pixels, both sides in multiples of 64."""
    scale = shorter / min(size)
    return [round(side * scale / 64) * 64 for side in size]


_DRAWERS = {"draw_pose": _draw_people, "DWposeDetector.__call__": _draw_detected}
