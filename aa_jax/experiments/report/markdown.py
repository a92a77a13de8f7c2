"""Results as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence

from aa_jax.experiments import published
from aa_jax.experiments.report import tables
from aa_jax.experiments.report.tables import Group


def render(groups: Sequence[Group]) -> str:
    """The text: tables with 95 % intervals over clips, the paper's figures, what not to compare."""
    parts = ["# Results", ""]
    for group in groups:
        parts += [f"## {group.title}", "", *_ours(group), ""]
    parts += ["Figures with 95 % intervals over clips (bootstrap); the best are bold.", ""]
    parts += _list("What may not be compared", tables.not_compared(groups))
    parts += _list("Remarks", tables.remarks(groups))
    paper = published.load()
    shown = tables.published_tables(groups)
    if shown:
        parts += [f"## What the paper prints (arXiv {paper.arxiv})", ""]
        for table in shown:
            parts += [f"Table {table.number}, {table.title.lower()} ({table.dataset}):", ""]
            heads = [column.heading for column in tables.published_columns(table)]
            rows = [
                [method, *tables.published_cells(table, figures)]
                for method, figures in table.rows.items()
            ]
            parts += [*_table(["method", *heads], rows), ""]
            parts += [f"- {note}" for note in table.notes] + [""] * bool(table.notes)
        parts += [f"- {note}" for note in paper.notes] + [""]
    return "\n".join(parts).rstrip() + "\n"


def _ours(group: Group) -> list[str]:
    rows = []
    for result in group.results:
        row = []
        for figure, interval, best in tables.cells(group, result):
            text = f"**{figure}**" if best else figure
            row.append(f"{text} ({interval})" if interval else text)
        rows.append([result.name, *row])
    return _table(["system", *(column.heading for column in group.columns)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {_escaped(line)}." for line in lines), ""] if lines else []
