"""What the benchmarks against PyTorch share: their command line, and the table of their results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_jax import files
from aa_jax.arguments import Parser, respelled
from benchmarks.comparison import SIDES, Make, compare, matrix_rate
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
LABELS = {"ours": "aa_jax", "eager": "PyTorch eager", "compile": "torch.compile"}


# --- command line -------------------------------------------------------------------------------


def parser(description: str) -> Parser:
    """The flags that the benchmarks against PyTorch share."""
    made = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--workload", choices=("tiny", "cpu", "gpu"), default="cpu", help="default: %(default)s")
    add("--sizes", type=_positive, nargs="+", metavar="SIDE", help="pictures; default: all it has")
    add("--rounds", type=_positive, default=3, help="timed calls per side; default: %(default)s")
    add("--sides", nargs="+", choices=SIDES[1:], default=SIDES[1:], help="default: both")
    add(
        "--channels_last",
        action="store_true",
        help="PyTorch's convolutions lay their arrays out as ours do; no faster on a CPU",
    )
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    add("--markdown", action="store_true", help="write the table into docs/performance.md")
    return made


def parse(made: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, in either spelling of names; refuses, before anything runs, what cannot end."""
    argv = sys.argv[1:] if argv is None else argv
    flags = made.parse_args([respelled(argument, "_") for argument in argv])
    if flags.markdown and flags.workload == "tiny":
        made.error("--markdown: docs/performance.md has no table of the workload tiny")
    sizes = WORKLOADS[flags.workload].sizes
    flags.sizes = flags.sizes or sizes
    if unknown := set(flags.sizes).difference(sizes):
        made.error(
            f"--sizes: the workload {flags.workload} has {', '.join(map(str, sizes))}, "
            f"not {', '.join(map(str, unknown))}"
        )
    return flags


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, got {text}")
    return int(text)


def run(
    flags: argparse.Namespace,
    name: str,
    make: Make,
    pieces: Sequence[str],
    once: Sequence[str] = (),
) -> int:
    """Compares the pieces of a benchmark at every size of the flags' workload, and reports.

    Args:
      flags: of `parser`.
      name: of the benchmark.
      make: (side, workload, piece, size, channels_last) -> the task.
      pieces: what is computed.
      once: pieces that are timed once and against the first other side only.

    Returns:
      The exit code.
    """
    workload = WORKLOADS[flags.workload]
    rows = {}
    for size in flags.sizes:
        for piece in pieces:
            title = piece if len(workload.sizes) == 1 else f"{piece} {size}x{size}"
            rows[title] = compare(
                make,
                (flags.workload, piece, size, flags.channels_last),
                rounds=1 if piece in once else flags.rounds,
                sides=flags.sides[:1] if piece in once else flags.sides,
            )
    finish(flags, name, rows, matrix_rate(workload.dtype))
    return 0


def finish(
    flags: argparse.Namespace, name: str, rows: dict[str, dict[str, Any]], rate: float
) -> None:
    """Prints the table and writes what the flags ask for.

    Args:
      flags: of `parser`.
      name: of the benchmark.
      rows: results of `compare` by what was computed.
      rate: of `matrix_rate`.
    """
    text = table(rows, rate)
    print(text)
    for title, row in rows.items():
        for side in flags.sides:
            if "error" in row.get(side, {}):
                print(f"{title}: {LABELS[side]} does not run here: {row[side]['error']}")
    if flags.json:
        figures = {"workload": flags.workload, "matrix_flops": rate, **rows}
        files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    if flags.markdown:
        write_table(name, flags.workload, text)


def write_table(name: str, workload: str, text: str) -> None:
    """Puts the table of a benchmark's workload into docs/performance.md."""
    page = ROOT / "docs" / "performance.md"
    files.write_text(page, between(page.read_text(), f"{name} {workload}", text))


# --- tables -------------------------------------------------------------------------------------


def table(rows: dict[str, dict[str, Any]], rate: float) -> str:
    """A Markdown table of results of `compare`; utilisation is our FLOP/s over `rate`."""
    others = [side for side in SIDES[1:] if any(side in row for row in rows.values())]
    sides = ("ours", *others)
    head = ["", *(f"{LABELS[side]}, s" for side in sides)]
    head += [f"speedup over {LABELS[side]}" for side in others]
    head += [f"peak MiB, {LABELS[side]}" for side in sides]
    head += ["TFLOP", "of the matrix rate"]
    lines = [head, ["---"] * len(head)]
    for title, row in rows.items():
        cells = [title, *(_number(row, side, "seconds", ".3f") for side in sides)]
        cells += [_speedup(row, f"speedup_over_torch_{side}") for side in others]
        cells += [_number(row, side, "peak_mib", ".0f") for side in sides]
        if "ours" in row and row["flops"]:
            used = row["flops"] / row["ours"]["seconds"] / rate
            cells += [f"{row['flops'] / 1e12:.3g}", f"{used:.0%}"]
        else:
            cells += ["-", "-"]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(row: dict[str, Any], side: str, name: str, form: str) -> str:
    value = row.get(side, {}).get(name)
    return "-" if value is None else format(value, form)


def _speedup(row: dict[str, Any], key: str) -> str:
    if row.get(key) is None:
        return "-"
    low, high = row[f"{key}_quartiles"]
    return f"{row[key]:.2f} ({low:.2f} to {high:.2f})"


def between(page: str, name: str, text: str) -> str:
    """The page with the text between `<!-- name -->` and `<!-- end of name -->`.

    Raises:
      ValueError: the page lacks these markers.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if start not in page or end not in page:
        raise ValueError(f"the page lacks the markers of {name}")
    before, rest = page.split(start, 1)
    return f"{before}{start}{text}\n{end}{rest.split(end, 1)[1]}"
