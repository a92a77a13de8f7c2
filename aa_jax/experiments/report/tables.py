"""Which results may stand in one table, and what the cells of tables say."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Sequence

from aa_jax.experiments import columns, published
from aa_jax.experiments.columns import Column
from aa_jax.experiments.results import Result


@dataclasses.dataclass(frozen=True)
class Group:
    """Results that may be compared.

    Attributes:
      results: of one protocol, one number of clips and one of frames.
      columns: of all figures that one of them has, or lacks for a reason.
    """

    results: tuple[Result, ...]
    columns: tuple[Column, ...]

    @property
    def title(self) -> str:
        """What they have in common."""
        protocol, clips, frames = self.results[0].setting
        return f"{protocol}: {_count(clips, 'clip')}, {_count(frames, 'frame')}"

    @property
    def best(self) -> dict[str, float]:
        """The best figure by metric, where there are several and one way is better."""
        found = {}
        for column in self.columns:
            values = [value_of(result, column) for result in self.results]
            known = [value for value in values if value is not None]
            if column.higher is not None and len(set(known)) > 1:
                found[column.key] = max(known) if column.higher else min(known)
        return found


def grouped(results: Sequence[Result]) -> list[Group]:
    """Results in as many groups as may not be compared with each other."""
    by_setting: dict[tuple, list[Result]] = {}
    for result in results:
        by_setting.setdefault(result.setting, []).append(result)
    return [
        Group(tuple(same), tuple(columns.of(key for result in same for key in result.metrics)))
        for same in by_setting.values()
    ]


def told_apart(results: Sequence[Result]) -> list[Result]:
    """Results whose names differ: a second `model` is `model (2)`."""
    seen: dict[str, int] = {}
    found = []
    for result in results:
        seen[result.name] = number = seen.get(result.name, 0) + 1
        found.append(result.renamed(f"{result.name} ({number})") if number > 1 else result)
    return found


def not_compared(groups: Sequence[Group]) -> list[str]:
    """A line for each group but the first that says what parts it from an earlier one."""
    lines = []
    for index, group in enumerate(groups[1:], start=1):
        other = groups[0]
        same = [g for g in groups[:index] if g.results[0].protocol == group.results[0].protocol]
        if same:
            other, what = same[0], "another set of clips"
        else:
            what = "another protocol"
        names = ", ".join(result.name for result in group.results)
        others = ", ".join(result.name for result in other.results)
        lines.append(
            f"{names} ({group.title}) and {others} ({other.title}): {what}, so no table has both"
        )
    return lines


def remarks(groups: Sequence[Group]) -> list[str]:
    """What has to be known of figures that are there, or are not."""
    lines: dict[str, None] = {}
    lacking: dict[tuple[str, str], list[str]] = {}
    for group in groups:
        for result in group.results:
            for metric, why in result.missing.items():
                lacking.setdefault((metric, why), []).append(result.name)
    for (metric, why), names in lacking.items():
        lines[f"{metric} is missing ({_some(names)}): {why}"] = None
    for group in groups:
        for result in group.results:
            for side, names in result.unmatched.items():
                if names:
                    lines[f"{result.name}: only in the {side}, not compared: {_some(names)}"] = None
        if any(result.metrics.get("fvd") is not None for result in group.results):
            lines[
                "A Fréchet distance grows as clips get fewer; only those of equally many clips "
                "compare, and those of fewer clips than 400 dimensions say little but an order"
            ] = None
        if any("psnr_disco_uint8" in result.metrics for result in group.results):
            lines[
                "The PSNR that wraps at 8 bits is no measure of quality; it stands here because "
                "tables of this field were made with it"
            ] = None
        if any(result.dataset == "puppets" for result in group.results):
            lines[
                "The paper's figures are of people, ours of puppets: only the order of rows can be "
                "set beside each other"
            ] = None
        assumed = group.results[0].settings.get("protocol", {}).get("assumed", ())
        if assumed:
            lines[
                f"Protocol {group.results[0].protocol}: no source states {', '.join(assumed)}; "
                "these were chosen here"
            ] = None
    return list(lines)


def cells(group: Group, result: Result) -> list[tuple[str, str, bool]]:
    """Of a row: figure, interval, and whether it is the best."""
    best = group.best
    row = []
    for column in group.columns:
        value, interval = value_of(result, column), result.intervals.get(column.key)
        ends = "" if not interval else " to ".join(column.text(end) for end in interval)
        row.append((column.text(value), ends, value is not None and value == best.get(column.key)))
    return row


def printed_columns(group: Group) -> list[Column]:
    """Of ours, the metrics whose names the paper prints too, the PSNR in both ways."""
    network = group.results[0].settings.get("protocol", {}).get("lpips", "alex")
    keys = ("ssim", "psnr", "psnr_disco_uint8", f"lpips_{network}", "fvd")
    return [column for column in group.columns if column.key in keys]


def plain_cells(chosen: Sequence[Column], result: Result) -> list[str]:
    """Of a row: figures alone."""
    return [column.text(value_of(result, column)) for column in chosen]


def value_of(result: Result, column: Column) -> float | None:
    """A figure, or None."""
    return result.metrics.get(column.key)


def published_tables(groups: Sequence[Group]) -> tuple[published.Table, ...]:
    """The paper's tables of the datasets that were measured; all where nobody has said.

    Beside the puppets stand all of them: what can be compared there is the order of rows.
    """
    paper = published.load()
    datasets = {result.dataset for group in groups for result in group.results}
    if datasets & {"", "puppets"}:
        return paper.tables
    return tuple(table for table in paper.tables if table.dataset in datasets)


def published_cells(table: published.Table, figures: dict[str, float | None]) -> list[str]:
    """Of a row of the paper: as printed; a dash where it has one."""
    return [
        column.text(figures[column.key]) if column.key in figures else "not read"
        for column in published_columns(table)
    ]


def published_columns(table: published.Table) -> list[Column]:
    """The metrics of which a table's figures could be read."""
    keys = [key for row in table.rows.values() for key in row]
    return [column for key in published.load().columns if key in keys for column in [_paper(key)]]


def published_text() -> str:
    """The file of published figures."""
    return (importlib.resources.files("aa_jax.experiments") / "published.json").read_text("utf-8")


def _paper(key: str) -> Column:
    forms = {"ssim": ".3f", "psnr": ".2f", "lpips": ".3f", "fvd": ".1f"}
    return dataclasses.replace(columns.of([key])[0], form=forms[key])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
