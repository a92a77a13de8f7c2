"""One person of keypoint JSON: which joints are there, in whatever order and fields they come."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from aa_jax.pose.layout import NUM_FACE_POINTS, NUM_HAND_POINTS, KeypointsError
from aa_jax.pose.orders import (
    FACE,
    LEFT_HAND,
    NUM_POINTS,
    ORDERS,
    RIGHT_HAND,
    arranged,
    order_of,
)

_LARGEST = 1e6

# Fields of OpenPose (today's and those of 1.1) and of COCO-WholeBody.
_BODY_FIELDS = ("pose_keypoints_2d", "pose_keypoints", "joints", "keypoints")
_OTHER_FIELDS = {
    ("hand_left_keypoints_2d", "hand_left_keypoints", "lefthand_kpts"): LEFT_HAND,
    ("hand_right_keypoints_2d", "hand_right_keypoints", "righthand_kpts"): RIGHT_HAND,
    ("face_keypoints_2d", "face_keypoints", "face_kpts"): FACE,
}
_FIELDS = {*_BODY_FIELDS, *(name for names in _OTHER_FIELDS for name in names)}
# The last two of OpenPose's 70 face points are the pupils.
_COUNTS = {
    LEFT_HAND.start: (NUM_HAND_POINTS,),
    RIGHT_HAND.start: (NUM_HAND_POINTS,),
    FACE.start: (NUM_FACE_POINTS, 70),
}


class Person(NamedTuple):
    """One person in the file's unit; what is absent has score 0.

    Attributes:
      points: [134, 2], see `aa_jax.pose.orders`.
      scores: [134] from 0 to 1.
    """

    points: Float[np.ndarray, "134 2"]
    scores: Float[np.ndarray, " 134"]


def person_of(entry: Any, names: tuple[str, ...], where: str) -> Person:
    """Reads one person.

    Args:
      entry: the JSON object.
      names: of the joints of `keypoints`, where the file states them.
      where: the frame, for errors.

    Raises:
      KeypointsError: naming frame and field.
    """
    if not isinstance(entry, dict):
        raise KeypointsError(f"{where}: an entry of its people is no object")
    if not _FIELDS & set(entry) and set(entry) - {"person_id"}:
        shown = ", ".join(ascii(key[:30]) for key in list(entry)[:5])
        raise KeypointsError(
            f"{where}: a person has {shown}, but no 'pose_keypoints_2d' and no 'keypoints'"
        )
    points, scores = np.zeros((NUM_POINTS, 2)), np.zeros(NUM_POINTS)
    field = next((name for name in _BODY_FIELDS if entry.get(name)), None)
    if field:
        rows = _rows(entry, field, where)
        names = names if field == "keypoints" else ()
        order = order_of(len(rows), names, f"{where}: field '{field}'")
        points, scores = arranged(rows, order)
    for fields, part in _OTHER_FIELDS.items():
        field = next((name for name in fields if entry.get(name)), None)
        if field:
            rows = _rows(entry, field, where, _COUNTS[part.start])[: part.stop - part.start]
            points[part], scores[part] = rows[:, :2], rows[:, 2]
    return Person(points, scores)


def _rows(
    entry: dict[str, Any], field: str, where: str, counts: Collection[int] = ORDERS.keys()
) -> Float[np.ndarray, "k 3"]:
    """x, y, score of every joint of a field, flat or in rows, or of `keypoint_scores` beside it."""
    values = _numbers(entry, field, where)
    if field == "keypoints" and entry.get("keypoint_scores") is not None:
        scores = _numbers(entry, "keypoint_scores", where).ravel()
        if values.size != 2 * scores.size:
            raise KeypointsError(
                f"{where}: field 'keypoints' must have x and y for each of its {scores.size} "
                f"scores, got {values.size} numbers"
            )
        return _cleaned(np.column_stack([values.reshape(-1, 2), scores]))
    in_rows = values.ndim == 1 or values.shape[-1] == 3
    if not in_rows or values.size not in [3 * count for count in counts]:
        wanted = ", ".join(str(3 * count) for count in counts)
        raise KeypointsError(
            f"{where}: field '{field}' must have x, y, score of every joint, so {wanted} numbers, "
            f"got shape {list(values.shape)}"
        )
    return _cleaned(values.reshape(-1, 3))


def _numbers(entry: dict[str, Any], field: str, where: str) -> np.ndarray:
    value = entry[field]
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(())
    if not array.ndim:
        raise KeypointsError(f"{where}: field '{field}' must be a list of numbers")
    return array


def _cleaned(rows: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """What is no place in a picture is absent; scores end at 1, wherever their network's end."""
    there = (np.abs(rows[:, :2]) <= _LARGEST).all(-1) & (rows[:, 2] > 0)  # NaN is neither
    return np.where(there[:, None], np.minimum(rows, [_LARGEST, _LARGEST, 1.0]), 0.0)
