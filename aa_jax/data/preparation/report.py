"""The report of a preparation: `report.html`, its contact sheets, and the same as `report.json`."""

from __future__ import annotations

import collections
import html
import json
from collections.abc import Sequence
from pathlib import Path

from aa_jax import files
from aa_jax.data.preparation.filters import RULES
from aa_jax.data.preparation.work import Outcome
from aa_jax.media import pictures

SHEET_CLIPS, SHEET_ROWS = 48, 12
"""Clips shown, evenly picked among those kept; and clips per contact sheet."""

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}"
    "img{max-width:100%}"
)


def write(output: Path, outcomes: Sequence[Outcome], others: Sequence[tuple[str, str]]) -> None:
    """Writes the report.

    Args:
      others: files that were passed over, each with the reason.
    """
    sheets = _write_sheets(output / "report", [o for o in outcomes if o.status == "kept"])
    files.write_text(output / "report.json", json.dumps(_as_json(outcomes, others), indent=2))
    files.write_text(output / "report.html", _as_html(outcomes, others, sheets))


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line for the terminal."""
    count = collections.Counter(outcome.status for outcome in outcomes)
    return ", ".join(f"{count[status]} {status}" for status in ("kept", "left out", "broken"))


def _as_json(outcomes: Sequence[Outcome], others: Sequence[tuple[str, str]]) -> dict:
    return {
        "videos": [
            {
                "split": outcome.source.split,
                "name": outcome.source.label,
                "status": outcome.status,
                "cause": outcome.reason,
                "notes": list(outcome.notes),
                "guesses": list(outcome.guesses),
            }
            for outcome in outcomes
        ],
        "rules": _rule_counts(outcomes),
        "others": [{"name": name, "cause": cause} for name, cause in others],
    }


def _as_html(
    outcomes: Sequence[Outcome], others: Sequence[tuple[str, str]], sheets: Sequence[str]
) -> str:
    def named(status: str) -> list[tuple[str, str]]:
        return [(o.source.label, o.reason) for o in outcomes if o.status == status]

    splits = sorted({o.source.split for o in outcomes})
    counts = [
        (
            split,
            *(str(sum(o.source.split == split and o.status == s for o in outcomes)) for s in _S),
        )
        for split in splits
    ]
    rules = [(RULES[rule], str(count)) for rule, count in _rule_counts(outcomes).items()]
    notes = [(o.source.label, "; ".join(o.notes)) for o in outcomes if o.notes]
    guesses = [(o.source.label, "; ".join(o.guesses)) for o in outcomes if o.guesses]
    parts = [
        _section("Videos", _table(("split", *_S), counts)),
        _section("Broken", _table(("video", "cause"), named("broken"))),
        _section("Left out", _table(("video", "rules it breaks"), named("left out"))),
        _section("Rules", _table(("rule", "videos that break it"), rules)),
        _section("Changed on the way", _table(("video", "what was done"), notes)),
        _section("Guessed", _table(("video", "what its keypoints do not say"), guesses)),
        _section("Not taken for videos", _table(("name", "reason"), others)),
        _section("Clips", "".join(f'<p><img src="{sheet}" alt=""></p>' for sheet in sheets)),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Dataset report</title>'
        f"<style>{_STYLE}</style>\n<h1>Dataset report</h1>\n{''.join(parts)}</html>\n"
    )


_S = ("kept", "left out", "broken")


def _rule_counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    broken = collections.Counter(rule for o in outcomes for rule, _ in o.refusals)
    return {rule: broken[rule] for rule in RULES}


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content or '<p>none</p>'}\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    ]
    return f"<table>{''.join(lines)}</table>"


def _write_sheets(folder: Path, kept: Sequence[Outcome]) -> list[str]:
    """Rows of frames beside their skeletons, one row per clip; returns addresses in the report."""
    step = max(1, -(-len(kept) // SHEET_CLIPS))
    strips = [pictures.read_picture(outcome.clip / "strip.png") for outcome in kept[::step]]
    with files.replacing(folder) as part:
        for number, start in enumerate(range(0, len(strips), SHEET_ROWS)):
            rows = [[strip] for strip in strips[start : start + SHEET_ROWS]]
            pictures.write_picture(part / f"clips_{number:02d}.png", pictures.contact_sheet(rows))
    return [f"{folder.name}/{path.name}" for path in sorted(folder.iterdir())]
