"""What was compared, how near it was, and what fell short."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass
class Ledger:
    """Counts and prints comparisons.

    Attributes:
      rtol: no array's relative tolerance is larger; None: all keep their own.
      atol: the same of absolute ones.
      only_failures: print nothing for arrays within tolerance.
      compared: arrays compared so far.
      short: what fell short: arrays out of tolerance, missing or unexplained, runs that failed.
    """

    rtol: float | None = None
    atol: float | None = None
    only_failures: bool = False
    compared: int = 0
    short: list[str] = dataclasses.field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing fell short."""
        return self.compared > 0 and not self.short

    def heading(self, text: str) -> None:
        """Prints a line above what follows."""
        print(text, flush=True)

    def compare(
        self, name: str, found: Any, expected: Any, *, rtol: float = 0.0, atol: float = 0.0
    ) -> None:
        """Compares an array: |found - expected| <= atol + rtol |expected| everywhere.

        Args:
          name: of the array.
          found: ours.
          expected: the original implementation's.
          rtol: relative tolerance.
          atol: absolute tolerance; 0 with rtol 0 asks for equality.
        """
        self.compared += 1
        found, expected = np.asarray(found), np.asarray(expected)
        if found.shape != expected.shape:
            self.fail(name, f"shape {list(found.shape)} where {list(expected.shape)} is expected")
            return
        rtol = rtol if self.rtol is None else min(rtol, self.rtol)
        atol = atol if self.atol is None else min(atol, self.atol)
        found, expected = found.astype(np.float64), expected.astype(np.float64)
        error, size = np.abs(found - expected), np.abs(expected)
        largest, scale = error.max(initial=0.0), size.max(initial=0.0)
        numbers = f"max abs {largest:8.2e}  rel {largest / scale if scale else largest:8.2e}"
        # A comparison with a number that is none is false.
        if np.all(error <= atol + rtol * size):
            if not self.only_failures:
                print(f"  {numbers}  ok    {name}", flush=True)
            return
        where = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        index = "".join(f"[{i}]" for i in where)
        values = f"found {found[where]:.7g}, expected {expected[where]:.7g}"
        self._short(f"  {numbers}  SHORT {name}{index}: {values}; rtol {rtol:g}, atol {atol:g}")

    def equal(self, name: str, found: Any, expected: Any) -> None:
        """Compares what is no array (lists of unequal length, texts) for equality."""
        self.compared += 1
        if found != expected:
            self.fail(name, f"found {_brief(found)}, expected {_brief(expected)}")

    def fail(self, name: str, reason: str) -> None:
        """Notes that something could not be compared or is not as it must be."""
        self._short(f"  SHORT {name}: {reason}")

    def summary(self) -> str:
        """The last line: how many arrays were compared, and how many fell short."""
        return f"{self.compared} arrays compared, {len(self.short)} fell short"

    def _short(self, line: str) -> None:
        self.short.append(line.strip())
        print(line, flush=True)


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
