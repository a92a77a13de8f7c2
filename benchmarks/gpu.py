"""What one accelerator does with this package, in one call of a few minutes.

    python benchmarks/gpu.py --json gpu.json                # Stable Diffusion 1.5, a large GPU
    python benchmarks/gpu.py --parts chip attention --markdown
    python benchmarks/gpu.py --workload tiny                # any machine, within a minute

Five parts, each of which can be asked for alone:

    chip       rate of large bfloat16 matrix products, and of copies; the measure of all the others
    attention  every kernel that runs here, at every level of the UNet, with reference keys and over
               frames: forward, forward and backward, and their errors against float32
    sampling   one guided DDIM step, and a whole sampling of 20 steps without encoding and decoding
    training   a step of either stage with cached latents, at the largest batch of a power of two,
               up to 16, that fits
    profile    where the time of a sampling step goes, by kinds of layers: the three largest

Utilisation is the arithmetic of plain attention without any recomputation over the matrix rate.
Weights and inputs are random. Figures are written after every part; parts that would begin after
--minutes are left out, and named. Comparisons with PyTorch are benchmarks/sampling.py's and
training.py's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import device_parts, device_profile
from benchmarks.device_parts import Row
from benchmarks.workloads import WORKLOADS

PARTS = {
    "chip": device_parts.chip,
    "attention": device_parts.attention,
    "sampling": device_parts.sampling,
    "training": device_parts.training,
    "profile": device_profile.profile,
}
"""In the order in which they run: (workload, figures of those before) -> rows of a table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for."""
    flags = _parser().parse_args(argv)
    from aa_jax import cli, runtime

    runtime.use_compilation_cache()
    return cli.report_errors(lambda: measure(flags))


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Runs the parts, prints their tables, writes the figures."""
    import jax

    from aa_jax import files

    started = time.monotonic()
    workload = WORKLOADS[flags.workload]
    device = jax.devices()[0]
    figures: dict[str, Any] = {
        "workload": flags.workload,
        "device": device.device_kind,
        "jax": jax.__version__,
        "left_out": [],
    }
    print(f"{flags.workload} workload on {device.device_kind}, jax {jax.__version__}")
    for name in PARTS:
        if name not in flags.parts and name != "chip":  # which the others are measured by
            continue
        if time.monotonic() - started > 60 * flags.minutes:
            figures["left_out"].append(name)
            continue
        begun = time.monotonic()
        figures[name] = PARTS[name](workload, figures)
        figures.setdefault("seconds", {})[name] = time.monotonic() - begun
        print(f"\n{name}\n\n{table(figures[name], flags.markdown)}", flush=True)
        if flags.json:
            files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    if figures["left_out"]:
        print(f"\nleft out after {flags.minutes} minutes: {', '.join(figures['left_out'])}")
    if flags.json:
        files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return figures


def table(rows: Sequence[Row], markdown: bool) -> str:
    """Rows with the columns of all of them, in Markdown or aligned."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_text(name, row.get(name)) for name in columns] for row in rows)]
    if markdown:
        cells.insert(1, ["---"] * len(columns))
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("utilisation", "share"):
        return f"{value:.1%}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    from aa_jax.arguments import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", choices=("tiny", "gpu"), default="gpu", help="default: %(default)s")
    add("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="default: all")
    add("--minutes", type=float, default=7, help="no part begins later; default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="where to write the figures, part by part")
    add("--markdown", action="store_true", help="print tables in Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
