"""Results as something to read: a page, Markdown or JSON, by the suffix of the file.

    write(Path("report.html"), results, sheets)

Results of different protocols, or of different numbers of clips or frames, are never in one table;
the paper's own figures stand beside ours in tables of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from aa_jax import files
from aa_jax.config import ConfigError
from aa_jax.experiments.report import tables
from aa_jax.experiments.report.page import Sheet
from aa_jax.experiments.results import Result, as_json, dumps

SUFFIXES = (".html", ".md", ".json")

__all__ = ["SUFFIXES", "Sheet", "check", "write"]


def check(path: Path) -> None:
    """Finds out before the work whether a report can be written.

    Raises:
      ConfigError: the suffix names no kind of report, or a page's libraries are missing.
      OSError: no file can be made there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--report {path}: must end in {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".html":
        from aa_jax.experiments.report import page

        page.check_libraries()
    files.check_writable(path)


def write(path: Path, results: Sequence[Result], sheets: Sequence[Sheet] = ()) -> None:
    """Writes a report.

    Args:
      path: its suffix says which kind.
      results: of one or several systems.
      sheets: pictures of clips, for a page.
    """
    results = tables.told_apart(results)
    groups = tables.grouped(results)
    kind = path.suffix.lower()
    if kind == ".html":
        from aa_jax.experiments.report import page

        text = page.render(groups, sheets)
    elif kind == ".md":
        from aa_jax.experiments.report import markdown

        text = markdown.render(groups)
    else:
        text = dumps(
            {
                "results": [as_json(result) for result in results],
                "tables": [[result.name for result in group.results] for group in groups],
                "not_compared": tables.not_compared(groups),
                "published": json.loads(tables.published_text()),
            }
        )
    files.write_text(path, text)
