"""The orders in which joints come in files, and how each becomes the 134 points of `people`.

What an order lacks stays absent. The one joint that is made is the neck, the middle of both
shoulders: COCO's orders have none, and a skeleton hangs on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from aa_jax.pose.layout import KeypointsError

NUM_POINTS = 134
"""Body 18, feet 6, face 68, hands 2 x 21, the left hand first: DWPose's order."""

BODY, FACE = slice(0, 18), slice(24, 92)
LEFT_HAND, RIGHT_HAND, HANDS = slice(92, 113), slice(113, 134), slice(92, 134)

_NECK = 1
_SHOULDERS = [2, 5]
_ABSENT = -1

COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""COCO's 17 joints in order."""

# Of OpenPose's 18 joints, in order, the rows among COCO's 17.
_COCO_BODY = (0, _ABSENT, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """An order of joints.

    Attributes:
      name: what people call it.
      rows: [134] for every point of `people` its row in the file; -1: the order has none.
    """

    name: str
    rows: Int[np.ndarray, " 134"]


def _order(name: str, body: Sequence[int], face: int = _ABSENT, hands: int = _ABSENT) -> Order:
    """An order from its rows of the body and the first rows of its face and of its left hand."""
    rows = np.full(NUM_POINTS, _ABSENT)
    rows[BODY] = body
    if face >= 0:
        rows[FACE] = np.arange(face, face + 68)
    if hands >= 0:
        rows[HANDS] = np.arange(hands, hands + 42)
    return Order(name, rows)


_HALPE_BODY = (0, 18, *_COCO_BODY[2:])

ORDERS: dict[int, Order] = {
    17: _order("COCO", _COCO_BODY),
    18: _order("OpenPose's COCO", range(18)),
    25: _order("OpenPose's BODY_25", (*range(8), *range(9, 19))),
    26: _order("Halpe, body and feet", _HALPE_BODY),
    133: _order("COCO-WholeBody", _COCO_BODY, face=23, hands=91),
    134: _order("DWPose", range(18), face=24, hands=92),
    136: _order("Halpe, whole body", _HALPE_BODY, face=26, hands=94),
}
"""Orders by their number of joints."""


def order_of(count: int, names: Sequence[str], where: str) -> Order:
    """The order of `count` joints; of joints with names, these decide.

    Raises:
      KeypointsError: no order that is known.
    """
    if names:
        if not set(COCO_NAMES) <= set(names):
            raise KeypointsError(
                f"{where}: its {len(names)} joints, {_listed(names)}, are not those of a person "
                "as COCO names them"
            )
        if len(names) != count:
            raise KeypointsError(f"{where}: {count} joints, but names of {len(names)}")
        if tuple(names[: len(COCO_NAMES)]) != COCO_NAMES or count not in ORDERS:
            return _by_names(names)
    if count not in ORDERS:
        known = ", ".join(map(str, ORDERS))
        raise KeypointsError(f"{where}: {count} joints are no order that is read ({known})")
    return ORDERS[count]


def _by_names(names: Sequence[str]) -> Order:
    place = {name: row for row, name in enumerate(names)}
    body = [_ABSENT if row < 0 else place[COCO_NAMES[row]] for row in _COCO_BODY]
    body[_NECK] = place.get("neck", _ABSENT)
    return _order("by names", body)


def _listed(names: Sequence[str]) -> str:
    shown = [ascii(name[:20]) for name in names[:3]]
    return ", ".join(shown) + (", ..." if len(names) > 3 else "")


def arranged(
    rows: Float[np.ndarray, "k 3"], order: Order
) -> tuple[Float[np.ndarray, "134 2"], Float[np.ndarray, " 134"]]:
    """Points and scores of one person, from rows x, y, score in the order of a file.

    A neck that the order lacks is the middle of the shoulders with the smaller of their scores,
    if both are there.
    """
    padded = np.concatenate([rows, np.zeros((1, 3))])  # row -1 is absent
    found = padded[order.rows]
    if order.rows[_NECK] < 0 and (found[_SHOULDERS, 2] > 0).all():
        found[_NECK, :2] = found[_SHOULDERS, :2].mean(0)
        found[_NECK, 2] = found[_SHOULDERS, 2].min()
    return found[:, :2], found[:, 2]
