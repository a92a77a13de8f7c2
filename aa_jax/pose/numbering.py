"""Frames that files number themselves: their order, and those left out for showing nobody."""

from __future__ import annotations

import math
import re

from aa_jax.files import counted
from aa_jax.pose.layout import KeypointsError

Number = int | str
"""A frame's number, or the name of its picture."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
_DIGITS = re.compile(r"([0-9]+)")
# Numbers further apart than this are those of a collection of pictures, not of a clip.
_MOST_GAPS = 20
_ALLOWANCE = 250
# So many frames at the same distance are a clip of which every n-th frame was taken.
_ENOUGH_FOR_STEPS = 4


def numbered_frames(
    found: list[Number], frames: int | None, *, fill: bool = True
) -> list[Number | None]:
    """The frames of a clip in order; None for one that is left out.

    Names are ordered as people count. Where they differ in one number, or are numbers, those
    between are left-out frames; what lies before the first is not known, unless the number of
    frames is.

    Args:
      found: numbers or names, each once.
      frames: how many frames the clip has; None: not known.
      fill: False: nothing is left out.

    Raises:
      KeypointsError: the numbers are those of no clip, or of a longer one.
    """
    numbers = _numbers(found) if fill else None
    if numbers is None:
        return sorted(found, key=lambda name: counted(str(name)))
    by_number = dict(zip(numbers, found, strict=True))
    first, last = min(numbers), max(numbers)
    if frames is not None:
        first = _start(first, last, frames)
        return [by_number.get(first + index) for index in range(frames)]
    gaps = [n - first for n in numbers]
    step = math.gcd(*gaps) if len(found) >= _ENOUGH_FOR_STEPS else 1
    count = (last - first) // max(step, 1) + 1
    if count > _MOST_GAPS * len(found) + _ALLOWANCE:
        raise KeypointsError(
            f"its pictures are numbered from {_shown(first)} to {_shown(last)}, but people are in "
            f"{len(found)} only; these are no frames of one clip"
        )
    return [by_number.get(first + index * max(step, 1)) for index in range(count)]


def _start(first: int, last: int, frames: int) -> int:
    """0, as most tools count, or 1 where only that fits."""
    start = 1 if first >= 1 and last == frames else 0
    if first < start or last >= start + frames:
        raise KeypointsError(
            f"its frames are numbered from {_shown(first)} to {_shown(last)}, the clip has {frames}"
        )
    return start


def _numbers(found: list[Number]) -> list[int] | None:
    """The number in each, if they differ in nothing else."""
    if all(isinstance(name, int) for name in found):
        return [name for name in found if isinstance(name, int)]
    parts = [_DIGITS.split(_SUFFIX.sub("", str(name))) for name in found]
    shape = len(parts[0])
    if any(len(part) != shape or shape == 1 for part in parts):
        return None
    rows = list(zip(*parts, strict=True))
    differing = [place for place, row in enumerate(rows) if len(set(row)) > 1]
    place = differing[0] if differing else shape - 2
    if len(differing) > 1 or place % 2 == 0:
        return None
    numbers = [int(part[place]) if len(part[place]) < 19 else -1 for part in parts]
    return numbers if len(set(numbers)) == len(numbers) else None


def _shown(number: int) -> str:
    return str(number) if abs(number) < 10**12 else "a number of many digits"
