"""How long a video will take, told after its first denoising step, and how far detection is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_TELL_EVERY = 4.0
"""Seconds."""


class Pace:
    """How long denoising will take, by how long its first step takes.

    The first windows wait for the compiler, so the time between the others counts, where a step
    has more than two goes.

    Attributes:
      steps: how many there are to do.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.steps, self._clock = steps, clock
        self._start = clock()
        self._times: list[float] = []

    def observe(self, *_: Any) -> None:
        """Takes note of a go: windows that have been denoised at once."""
        self._times.append(self._clock())

    def left(self) -> str:
        """After the first step, what the others take, as text; empty if there are no others."""
        if self.steps < 2:
            return ""
        goes = len(self._times)
        step = self._clock() - self._start
        if goes > 2:
            step = (self._times[-1] - self._times[0]) / (goes - 1) * goes
        return about(step * (self.steps - 1))


class Told:
    """Lines of how far a work of many frames is, every few seconds.

    To be called with the frames that are done and of how many, or 0 where nobody knows.

    Attributes:
      done: what has been done with them, which the lines begin with.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        done: str = "detected poses in",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.done, self._report, self._clock = done, report, clock
        self._first: tuple[float, int] | None = None
        self._last = clock()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._first is None:
            self._first = self._last, done
        if now - self._last < _TELL_EVERY:
            return
        self._last = now
        start, before = self._first
        if not total or done <= before:
            self._report(f"{self.done} {done} frames")
            return
        left = about((now - start) / (done - before) * (total - done))
        self._report(f"{self.done} {done} of {total} frames; {left} left")


def about(seconds: float) -> str:
    """A time in words."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return f"about {max(seconds, 1.0):.0f} s"
