"""How long a video will take, told after its first denoising step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


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
        return _about(step * (self.steps - 1))


def _about(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return f"about {max(seconds, 1.0):.0f} s"
