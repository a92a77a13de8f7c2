"""The figures that the paper prints, to be shown beside ours and never mixed with them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
      number: as printed.
      title: what it compares.
      dataset: `ubc_fashion`, `tiktok` or `ted_talks`.
      rows: by method, in the paper's order: figures by metric; None where the paper has a dash. A
        metric that is no key could not be read.
      notes: where the print is doubtful, and why.
    """

    number: int
    title: str
    dataset: str
    rows: dict[str, dict[str, float | None]]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Published:
    """All of the paper's tables.

    Attributes:
      paper: its title.
      arxiv: its number there.
      columns: metrics, in the order of print.
      tables: from 1 to 6.
      notes: what holds for all of them.
    """

    paper: str
    arxiv: str
    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    def of(self, dataset: str) -> tuple[Table, ...]:
        """The tables of one dataset."""
        return tuple(table for table in self.tables if table.dataset == dataset)


@functools.cache
def load() -> Published:
    """Reads `published.json`."""
    text = (importlib.resources.files("aa_jax.experiments") / "published.json").read_text("utf-8")
    found = json.loads(text)
    tables = tuple(
        Table(
            number=table["table"],
            title=table["title"],
            dataset=table["dataset"],
            rows={
                row["method"]: {name: x for name, x in row.items() if name != "method"}
                for row in table["rows"]
            },
            notes=tuple(table["notes"]),
        )
        for table in found["tables"]
    )
    return Published(
        paper=found["paper"],
        arxiv=found["arxiv"],
        columns=tuple(found["columns"]),
        tables=tables,
        notes=tuple(found["notes"]),
    )
