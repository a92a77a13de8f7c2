"""The time that is left, from the first step's."""

import pytest

from aa_jax.sampling.pace import Pace, Told


def pace(steps, times, now):
    clock = iter([0.0, *times, now])
    found = Pace(steps, clock=lambda: next(clock))
    for _ in times:
        found.observe(0, None, None)
    return found


@pytest.mark.parametrize(
    ("steps", "times", "now", "text"),
    [
        (20, [60, 62, 64, 66, 68], 68, "about 3 min"),  # a minute of compiling does not count
        (3, [4], 4, "about 8 s"),
        (21, [1, 601, 1201], 1201, "about 10 h"),
        (2, [0.1, 0.2, 0.3], 0.3, "about 1 s"),
        (1, [1, 2, 3], 3, ""),
    ],
)
def test_estimates(steps, times, now, text):
    assert pace(steps, times, now).left() == text


def test_how_far_detection_is_told_now_and_then():
    lines, clock = [], iter([0.0, 0.5, 2.0, 5.0, 6.0, 10.0])
    told = Told(lines.append, clock=lambda: next(clock))
    for done in (0, 8, 16, 24):
        told(done, 48)
    told(30, 0)
    assert lines == [
        "detected poses in 16 of 48 frames; about 10 s left",
        "detected poses in 30 frames",
    ]
