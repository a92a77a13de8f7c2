"""How far a job is, by what it says, and how the page shows that."""

from __future__ import annotations

import html
import re

_STEP = re.compile(r"step (\d+) of (\d+) is done(?:; (.*) of denoising left)?")
_DETECTED = re.compile(r"detected poses in (\d+) of (\d+) frames")
_DRAWN = re.compile(r"drawn (\d+) of (\d+) frames")
_PHASES = {  # what a line begins with, and how far the job is then
    "loading": 0.02,
    "detecting": 0.05,
    "drawing": 0.15,
    "encoding": 0.15,
    "denoising": 0.2,
    "denoised": 0.9,
    "decoding": 0.9,
    "wrote": 0.98,
}
_STARTED, _DENOISED = 0.2, 0.9


def place(line: str) -> tuple[float | None, str]:
    """How far a job is, from 0 to 1, by what it says, and that in words; None where it does not."""
    if found := _STEP.match(line):
        done, steps, left = int(found[1]), int(found[2]), found[3]
        text = f"denoising, step {done} of {steps}" + (f", {left} left" if left else "")
        return _STARTED + (_DENOISED - _STARTED) * done / steps, text
    if found := _DETECTED.match(line):
        first, last = _PHASES["detecting"], _PHASES["drawing"]
        return first + (last - first) * int(found[1]) / int(found[2]), line
    return _PHASES.get(line.split(" ")[0]), line


def place_in_look(line: str) -> tuple[float | None, str]:
    """The same of a job that only looks at a video, for most of which poses are detected."""
    if found := _DRAWN.match(line):
        return 0.7 + 0.3 * int(found[1]) / int(found[2]), line
    fraction, text = place(line)
    return None if fraction is None else min(fraction / _PHASES["drawing"], 1.0) * 0.7, text


def status(text: str, *more: str | float) -> str:
    """HTML: lines of text, and a bar where there is a number from 0 to 1."""
    parts = [f"<p>{html.escape(text)}</p>"]
    for part in more:
        if isinstance(part, str):
            parts.append(f"<p>{html.escape(part)}</p>")
        else:
            parts.append(f'<progress value="{part:.2f}" style="width: 100%"></progress>')
    return f'<div role="status">{"".join(parts)}</div>'
