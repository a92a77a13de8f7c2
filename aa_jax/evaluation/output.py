"""Where an evaluation's figures go: a table on the terminal, JSON, a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from aa_jax import files
from aa_jax.evaluation import folders, sheets
from aa_jax.evaluation.clips import Pair
from aa_jax.experiments import report
from aa_jax.experiments.report import Sheet, tables
from aa_jax.experiments.results import Result, as_json, dumps, read_all
from aa_jax.metrics.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Output:
    """The files that were asked for; None: not this one.

    Attributes:
      json: of figures.
      report: a page, Markdown or JSON, by its suffix.
      compare: results of earlier runs, which the report shows too.
    """

    json: Path | None = None
    report: Path | None = None
    compare: tuple[Path, ...] = ()

    def check(self) -> None:
        """Finds out before the work whether all can be written and read.

        Raises:
          ConfigError: a report of no known kind, or its libraries are missing.
          OSError: a file cannot be written.
          ResultError: results of an earlier run cannot be read.
        """
        if self.json:
            files.check_writable(self.json)
        if self.report:
            report.check(self.report)
        read_all(list(self.compare))

    def write_report(self, results: Sequence[Result], sheets: Sequence[Sheet] = ()) -> None:
        """Writes the report of these results and of earlier ones."""
        if self.report:
            report.write(self.report, [*results, *read_all(list(self.compare))], sheets)
            print(f"report written to {self.report}")


def deliver(output: Output, result: Result, pairs: Iterable[Pair], protocol: Protocol) -> None:
    """Prints one result, and writes what was asked for.

    Args:
      pairs: the clips it is of, which a page shows some of.
      protocol: by which they were measured.
    """
    print(table([result]))
    if output.json:
        files.write_text(output.json, dumps(as_json(result)))
        print(f"figures written to {output.json}")
    shown: Sequence[Sheet] = ()
    if output.report and output.report.suffix.lower() == ".html":
        by_name = {pair.name: pair for pair in pairs}
        shown = sheets.best_median_worst(
            result, lambda name: folders.prepare(by_name[name], protocol)
        )
    output.write_report([result], shown)


def table(results: Sequence[Result]) -> str:
    """Lines of text: a table per group of results that may be compared, a metric a line."""
    parts = []
    for group in tables.grouped(results):
        width = max(len(column.title) for column in group.columns)
        parts.append(f"{group.title}, {' and '.join(result.name for result in group.results)}")
        rows = [tables.cells(group, result) for result in group.results]
        for column, *found in zip(group.columns, *rows, strict=True):
            cells = (f"{text:>9}  {f'({ends})' if ends else '':<22}" for text, ends, _ in found)
            parts.append(f"  {column.title:<{width}}{''.join(cells)}".rstrip())
    return "\n".join(parts)
