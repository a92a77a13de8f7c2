"""The times of frames: in order, and the steady rate they keep.

Times come from the frames alone. What a file says of its duration or average rate is used only to
choose between rates that its frames allow: a held frame, a pause or a coarse clock bends both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int

Times = Float[np.ndarray, " t"]

DEFAULT_RATE = Fraction(25)
"""Frames per second where nothing tells them."""

_COMMON = [Fraction(rate) for rate in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)]
_NTSC = [Fraction(1000 * rate, 1001) for rate in (24, 30, 48, 60, 120)]
_BELIEVABLE = (Fraction(1, 2), Fraction(300))

REORDERED = 16
"""Places by which times may lie out of order: as far as codecs reorder frames."""

_LATE = 0.25
"""Share of a frame's duration by which a frame may come late and still be on time."""


class TimesError(ValueError):
    """Times that no video can have; the message says why, and names no file."""


def in_order(times: Sequence[float | None], stated: Iterable[Fraction | None]) -> Times:
    """Times of frames in the order in which the decoder hands them out, ascending from 0 up.

    Decoders hand frames out in the order in which they are shown, but AVI tells only the order in
    which they are decoded: times a few places out of order are sorted. Raw streams tell none:
    frames then follow each other at the stated rate.

    Args:
      times: seconds, at least one; None where a frame has none.
      stated: rates that the file states, the most trusted first.

    Returns:
      Seconds, the first 0; equal neighbours where a frame is replaced in the moment it is shown.

    Raises:
      TimesError: they jump back, or are too far apart.
    """
    known = np.array([time is not None for time in times])
    if not known.any():
        return np.arange(len(times)) / float(_believable(stated))
    values = np.array([time for time in times if time is not None], np.float64)
    places = np.argsort(values, kind="stable")
    moved = np.abs(places - np.arange(len(values)))
    if len(moved) and moved.max() > REORDERED:
        step = int(np.argmin(np.diff(values)))
        back = values[step] - values[step + 1]
        raise TimesError(f"its times jump back by {back:.3g} s after frame {step + 1}")
    values = values[places]
    gap = _usual_gap(values) or 1 / float(_believable(stated))
    if moved.any():  # sorted times end in equal ones, for the frames the decoder held back
        last = int(np.searchsorted(values, values[-1]))
        values[last:] = values[last] + gap * np.arange(len(values) - last)
    if not known.all():
        values = _filled(known, values, gap)
    return values - values[0]


def _filled(known: np.ndarray, values: Times, gap: float) -> Times:
    """Times for frames without: between their neighbours', or a usual gap apart at both ends."""
    index, given = np.arange(len(known)), np.flatnonzero(known)
    gap = float(np.median(np.diff(values) / np.diff(given))) if len(given) > 1 else gap
    filled = np.interp(index, given, values)
    filled[: given[0]] -= gap * (given[0] - index[: given[0]])
    filled[given[-1] + 1 :] += gap * (index[given[-1] + 1 :] - given[-1])
    return filled


def steady_rate(
    times: Times, tick: float, stated: Iterable[Fraction | None]
) -> tuple[Fraction, bool]:
    """The rate that frames keep, and whether they leave it.

    Frames keep a rate if no gap is half as long again as the usual one, or half as long, and no
    frame is half a gap away from where the rate puts it. The clock of a file rounds times, and
    recorders jitter; of the rates that fit as well as those explain, one that the file states is
    taken before a common one, and that before any other.

    Args:
      times: of `in_order`.
      tick: seconds of the file's clock.
      stated: rates that the file states.

    Returns:
      Frames per second; of frames that leave it, the usual rate. Then whether they do.
    """
    stated = [rate for rate in stated if rate]
    usual = _usual_gap(times)
    if not usual:
        return _believable(stated), False
    gaps = np.diff(times)
    near = np.abs(gaps - usual) <= usual / 2 * (1 + 1e-6)
    steady = False
    if near.all():
        period, deviation = _best_period(times)
        steady = deviation <= usual / 2
    if steady and deviation <= tick:
        allowed = max(tick / 2, deviation) * 1.02 + 1e-9
        rates = [_few(stated), _COMMON, _NTSC, _whole(period)]
        return _nearest(rates, period, lambda p: _deviation(times, p) <= allowed), False
    # Errors of jittering gaps add up in the worst case; no exact NTSC rate can be told from it.
    period, spread = float(gaps[near].mean()), float(gaps[near].std())
    margin = min((tick + 2 * spread) / np.sqrt(near.sum()), period / 20) + 1e-9
    rates = [_few(stated), _COMMON, [] if spread > tick else _NTSC, _whole(period)]
    return _nearest(rates, period, lambda p: abs(p - period) <= margin), not steady


def moments(times: Times, fps: float) -> Int[np.ndarray, " n"]:
    """The frames shown at 0, 1 / fps, 2 / fps, ... until the last; some repeat, some are left out.

    A frame up to a quarter of 1 / fps late counts as on time: jitter drops and repeats none.

    Raises:
      TimesError: there would be more than a million, and a hundred times more than frames.
    """
    count = float(times[-1]) * fps
    if not count < max(1e6, 100 * len(times)):
        raise TimesError(f"its {len(times)} frames are spread over {times[-1]:.3g} s")
    shown = np.arange(int(count + _LATE) + 1) / fps
    return np.searchsorted(times, shown + _LATE / fps, side="right") - 1


def _usual_gap(times: Times) -> float:
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else 0.0


def _believable(stated: Iterable[Fraction | None]) -> Fraction:
    low, high = _BELIEVABLE
    return next((Fraction(r) for r in stated if r and low <= r <= high), DEFAULT_RATE)


def _deviation(times: Times, period: float) -> float:
    """How far frames are at most from a grid of that period, wherever the grid begins."""
    offsets = times - np.arange(len(times)) * period
    return float(offsets.max() - offsets.min()) / 2


def _best_period(times: Times) -> tuple[float, float]:
    """The period of least deviation, which is convex in it, and that deviation."""
    mean = float(times[-1]) / (len(times) - 1)
    low, high = mean / 2, mean * 3 / 2
    for _ in range(80):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _deviation(times, left) <= _deviation(times, right):
            high = right
        else:
            low = left
    # An exact grid has a deviation of nothing only at its own period.
    return min(((p, _deviation(times, p)) for p in (mean, (low + high) / 2)), key=lambda x: x[1])


def _few(stated: Iterable[Fraction]) -> list[Fraction]:
    """Stated rates of a small fraction; others are averages that were measured, not kept."""
    return [Fraction(rate) for rate in stated if Fraction(rate).denominator <= 1001]


def _whole(period: float) -> list[Fraction]:
    near = round(1 / period)
    return [Fraction(rate) for rate in (near - 1, near, near + 1) if rate > 0]


def _nearest(
    groups: Iterable[Sequence[Fraction]], period: float, fits: Callable[[float], bool]
) -> Fraction:
    """Of the first group with a rate that fits, the nearest to the period; else the period."""
    for group in groups:
        fitting = [rate for rate in group if fits(float(1 / rate))]
        if fitting:
            return min(fitting, key=lambda rate: abs(float(1 / rate) - period))
    simple = Fraction(1 / period).limit_denominator(1001)
    return simple if simple and fits(float(1 / simple)) else Fraction(1 / period)
