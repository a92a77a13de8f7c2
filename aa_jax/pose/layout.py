"""Names and order of the points of a person, and the error that bad keypoints raise."""

from __future__ import annotations

BODY_JOINTS = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
"""OpenPose's 18 joints in order; right and left are the person's own."""

BODY_LIMBS = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
"""The 17 limbs of a skeleton picture, as pairs of rows of `BODY_JOINTS`, in drawing order."""

HAND_BONES = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)
"""The 20 bones of a hand: point 0 is the wrist, then four points per finger from the thumb on."""

NUM_HAND_POINTS = 21
NUM_FACE_POINTS = 68

POINT_SHAPES = {
    "body": (len(BODY_JOINTS), 2),
    "body_scores": (len(BODY_JOINTS),),
    "hands": (2, NUM_HAND_POINTS, 2),
    "hand_scores": (2, NUM_HAND_POINTS),
    "face": (NUM_FACE_POINTS, 2),
    "face_scores": (NUM_FACE_POINTS,),
}
"""Shapes of the arrays of keypoints, without the leading axis of frames."""


class KeypointsError(ValueError):
    """Keypoints cannot be used; the message names the file, the field and the fix."""
