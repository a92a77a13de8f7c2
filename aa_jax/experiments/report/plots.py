"""How a metric is distributed over clips, a drawing each."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from aa_jax.experiments.columns import Column
from aa_jax.experiments.report.tables import Group

_DOTS, _MEAN = "#2f6f9f", "#c2410c"


def distributions(group: Group) -> Iterator[tuple[Column, bytes]]:
    """For each metric that clips have of their own, an SVG: a row of dots per system.

    A dot is a clip; the line and its bar are the mean over all and its 95 % interval.
    """
    for column in group.columns:
        values = {
            result.name: np.array([clip[column.key] for clip in result.per_clip])
            for result in group.results
            if result.per_clip and all(column.key in clip for clip in result.per_clip)
        }
        if values:
            yield column, _drawn(group, column, values)


def _drawn(group: Group, column: Column, values: dict[str, np.ndarray]) -> bytes:
    # Without pyplot, whose figures are global and whose windows want a display.
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = [result for result in group.results if result.name in values]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "aa_jax", "font.size": 9}):
        figure = Figure(figsize=(5.0, 0.75 + 0.42 * len(rows)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for place, result in enumerate(reversed(rows)):
            drawn = values[result.name]
            spread = np.random.default_rng(0).uniform(-0.22, 0.22, len(drawn))
            axes.plot(drawn, place + spread, "o", ms=4, mew=0, alpha=0.55, color=_DOTS)
            mean = result.metrics[column.key]
            axes.plot([mean, mean], [place - 0.32, place + 0.32], color=_MEAN, lw=2)
            if interval := result.intervals.get(column.key):
                axes.plot(interval, [place, place], color=_MEAN, lw=2)
        axes.set_yticks(range(len(rows)), [_short(result.name) for result in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(column.heading)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", lw=0.4)
        encoded = io.BytesIO()
        figure.savefig(encoded, format="svg", metadata={"Date": None})
    return encoded.getvalue()


def _short(name: str) -> str:
    # matplotlib reads what stands between dollars as mathematics.
    return (name if len(name) <= 28 else f"{name[:27]}…").replace("$", r"\$")
