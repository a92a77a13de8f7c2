"""What C++ gains on a CPU: whole steps with all of it, and without each part, by turns.

    python benchmarks/native.py --workload cpu
    python benchmarks/native.py --workload tiny --rounds 1      # a minute

`step` is one guided DDIM step, `decode` the VAE on all frames; `stage1` and `stage2` are training
steps, as in benchmarks/sampling.py and benchmarks/training.py. All programs of a piece share its
parameters, in one process. A ratio is the median over rounds of the time without a part over the
time with all of them, with its quartiles.

A part that gains less than 5 % of every step is not worth its code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).parents[1]))

from aa_jax import files
from aa_jax.arguments import Parser, respelled
from aa_jax.kernels.cpu.native import library
from aa_jax.kernels.cpu.native.library import Part
from benchmarks import reporting, workloads
from benchmarks.comparison import quartiles

PIECES = ("step", "decode", "stage1", "stage2")
SIDES: dict[str, tuple[Part, ...]] = {
    "all": (),
    **{f"without {part}": (part,) for part in Part},
    "without any": tuple(Part),
}
"""What is left out, by the name of a column."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the flags ask for; prints a Markdown table."""
    argv = sys.argv[1:] if argv is None else argv
    flags = _parser().parse_args([respelled(argument, "_") for argument in argv])
    if obstacle := library.obstacle(Part.ATTENTION):
        print(f"error: C++ {obstacle}", file=sys.stderr)
        return 1
    from aa_jax import runtime

    runtime.prepare()
    rows = {}
    for piece in flags.pieces:
        rows[piece] = measure(MAKERS[piece](flags.workload), flags.rounds)
        print(_line(piece, rows[piece]) if len(rows) > 1 else table(rows), flush=True)
        if flags.json:
            files.write_text(flags.json, json.dumps(rows, indent=2) + "\n")
    if flags.markdown:
        reporting.write_table("native", flags.workload, table(rows))
    return 0


def measure(make: Callable[[], Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round by side.

    Args:
      make: compiles a program, as it is traced at the time, and returns what runs it.
      rounds: after one call of each side that is not timed.
    """
    import jax

    runs = {}
    for side, parts in SIDES.items():
        jax.clear_caches()  # or the first side's traces would serve all
        with library.without(*parts):
            runs[side] = make()
            runs[side]()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: dict[str, list[float]], side: str) -> list[float]:
    """Of a side's rounds over those with all parts."""
    return [x / y for x, y in zip(seconds[side], seconds["all"], strict=True)]


def table(rows: dict[str, dict[str, list[float]]]) -> str:
    """A Markdown table of results of `measure` by piece."""
    head = ["", "all, s", *list(SIDES)[1:]]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(_line(piece, seconds) for piece, seconds in rows.items())])


def _line(piece: str, seconds: dict[str, list[float]]) -> str:
    cells = [piece, f"{statistics.median(seconds['all']):.3f}"]
    for side in list(SIDES)[1:]:
        found = ratios(seconds, side)
        low, high = quartiles(found)
        cells.append(f"{statistics.median(found):.2f} ({low:.2f} to {high:.2f})")
    return f"| {' | '.join(cells)} |"


# --- pieces -------------------------------------------------------------------------------------


def _sampling(piece: str, name: str) -> Callable[[], Callable[[], Any]]:
    import jax

    from aa_jax.models.autoencoder import Autoencoder
    from aa_jax.sampling.pipeline import Pipeline

    workload = workloads.WORKLOADS[name]
    size, frames = workload.sizes[0], workload.frames
    params = jax.device_put(workloads.params(workload.model))
    pipeline = Pipeline(workload.model, workloads.SCHEDULE)
    noise = workloads.latents(workload, size, frames)

    def denoise(params, conditions, noise):
        scale = workloads.GUIDANCE_SCALE
        return pipeline.denoise(params, conditions, noise, steps=1, guidance_scale=scale)

    def decode(params, latents):
        return Autoencoder(workload.model.autoencoder).decode(params["vae"], latents)

    def make_step():
        inputs = params, conditions, noise
        compiled = jax.jit(denoise).lower(*inputs).compile()
        return lambda: compiled(*inputs).block_until_ready()

    def make_decode():
        inputs = params, noise[0]
        compiled = jax.jit(decode).lower(*inputs).compile()
        return lambda: compiled(*inputs).block_until_ready()

    if piece == "decode":
        return make_decode
    conditions = jax.block_until_ready(
        pipeline.encode(params, **workloads.pictures(workload, size, frames))
    )
    return make_step


def _training(stage: workloads.Stage, name: str) -> Callable[[], Callable[[], Any]]:
    from aa_jax.training import partitioning

    workload = workloads.WORKLOADS[name]
    config = workloads.run_config(workload, stage, workload.sizes[0])
    return workloads.Training(config, partitioning.make_partitioning(config)).compiled


MAKERS = {
    "step": lambda name: _sampling("step", name),
    "decode": lambda name: _sampling("decode", name),
    "stage1": lambda name: _training("stage1", name),
    "stage2": lambda name: _training("stage2", name),
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", choices=("tiny", "cpu"), default="cpu", help="default: %(default)s")
    add("--pieces", nargs="+", choices=PIECES, default=PIECES, help="default: all")
    add("--rounds", type=reporting.positive, default=7, help="timed calls; default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="where to write all seconds")
    add("--markdown", action="store_true", help="write the table into docs/performance.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
