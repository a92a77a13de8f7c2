"""Kills a training run again and again, and compares its end with that of a run left alone.

    python benchmarks/resume.py --kills 20
    python benchmarks/resume.py --kills 5 --runs 1 --json resume.json

One run is left alone and timed. The others are killed (SIGKILL) at random moments between their
first step and their end, saving and writing weights included, started again each time, and at last
left to end. Their weights must equal the first run's bit for bit, and their logs its losses, step
by step. Exit code 0 only if all do.

The run is stage 1 of the puppet world with narrow networks on 32x32 pictures; its optimizer state
is whole (Muon and AdamW moments, averaged parameters), and it saves every few steps.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Beside the package when started from a checkout.
sys.path.insert(0, str(ROOT))

SAVE_EVERY = 4

LEAST_SHARE = 0.25
"""Of a run's duration, what an almost finished one still takes: compiling, validating, writing."""

COMMAND = (
    sys.executable,
    str(ROOT / "train.py"),
    "--config=configs/puppets_stage1.py",
    "--mesh=data=1",
    "--config.model.unet.block_out_channels=(16, 32)",
    "--config.model.unet.layers_per_block=1",
    "--config.data.width=32",
    "--config.data.height=32",
    "--config.train.batch_size=4",
    "--config.train.accumulation_steps=2",
    "--config.train.warmup_steps=0",
    f"--config.train.save_every={SAVE_EVERY}",
    "--config.train.log_every=1",
    "--config.train.validate_every=1000000",
    "--config.train.validation_clips=1",
    "--config.eval.frames=2",
)


@dataclasses.dataclass(frozen=True)
class Kill:
    """What one kill cost.

    Attributes:
      step: the last step logged before it.
      saved: the step of the newest whole checkpoint, 0 if there is none.
    """

    step: int
    saved: int


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, kills, compares."""
    flags = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(Path(folder), flags)
    print(
        f"{figures['exact']} of {figures['runs']} runs, killed {figures['kills']} times, ended "
        f"bit-exactly; at most {figures['most_steps_lost']} steps were taken again after a kill "
        f"(a checkpoint every {SAVE_EVERY}); {figures['seconds']:.0f} s in all"
    )
    if flags.json:
        from aa_jax import files

        files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")
    return 0 if figures["exact"] == figures["runs"] else 1


def _parser() -> argparse.ArgumentParser:
    from aa_jax.arguments import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kills", type=int, default=20, help="kills in all (20)")
    add("--runs", type=int, default=4, help="runs that share the kills (4)")
    add("--steps", type=int, default=48, help="steps of a run (48)")
    add("--seed", type=int, default=0, help="of the moments (0)")
    add("--json", type=Path, help="file that receives the figures")
    return parser


def _measure(folder: Path, flags: argparse.Namespace) -> dict:
    begun = time.perf_counter()
    _run(folder / "warm", flags.steps)  # fills the compilation cache
    shutil.rmtree(folder / "warm", ignore_errors=True)
    alone = folder / "alone"
    with _started(alone, flags.steps) as process:
        _await_training(process, alone, starts=1)
        training = time.perf_counter()
        code = process.wait()
    if code:
        raise SystemExit(f"error: a run left alone fails; see {' '.join(COMMAND)}")
    duration = time.perf_counter() - training
    print(f"a run left alone trains for {duration:.1f} s", flush=True)

    moments = random.Random(flags.seed)
    runs = max(1, min(flags.runs, flags.kills))
    results = []
    for index in range(runs):
        workdir = folder / f"killed_{index}"
        kills = []
        for _ in range(flags.kills // runs + (index < flags.kills % runs)):
            remaining = max(1 - _steps_saved(workdir) / flags.steps, LEAST_SHARE)
            kills.append(_start_and_kill(workdir, flags.steps, moments, remaining * duration))
        code = _run(workdir, flags.steps)
        exact = code == 0 and _same_weights(alone, workdir) and _losses(alone) == _losses(workdir)
        results.append({"exact": exact, "kills": [dataclasses.asdict(kill) for kill in kills]})
        text = ", ".join(f"{kill.step} ({kill.saved} saved)" for kill in kills)
        print(f"run {index + 1}: killed after steps {text}: {'exact' if exact else 'DIFFERS'}")
        shutil.rmtree(workdir, ignore_errors=True)
    every = [kill for result in results for kill in result["kills"]]
    return {
        "seconds": time.perf_counter() - begun,
        "training_seconds": duration,
        "runs": runs,
        "kills": len(every),
        "exact": sum(result["exact"] for result in results),
        "most_steps_lost": max((kill["step"] - kill["saved"] for kill in every), default=0),
        "results": results,
    }


def _run(workdir: Path, steps: int) -> int:
    """Starts a run and returns its exit code."""
    with _started(workdir, steps) as process:
        return process.wait()


@contextlib.contextmanager
def _started(workdir: Path, steps: int) -> Iterator[subprocess.Popen]:
    """A run, of which no process is left afterwards."""
    process = subprocess.Popen(
        [*COMMAND, f"--config.train.steps={steps}", f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start_and_kill(workdir: Path, steps: int, moments: random.Random, within: float) -> Kill:
    """Starts a run and kills it at some moment of its training; again if it ended before that.

    Args:
      within: seconds that the training is expected to take.
    """
    while True:
        starts = _starts(workdir)
        with _started(workdir, steps) as process:
            _await_training(process, workdir, starts=starts + 1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0, within))
            code = process.poll()
        if code is None:  # killed
            return Kill(_steps_logged(workdir), _steps_saved(workdir))
        if code:
            raise SystemExit(
                f"error: a killed run cannot go on from step {_steps_saved(workdir)}; it exits "
                f"with {code}"
            )


def _await_training(process: subprocess.Popen, workdir: Path, *, starts: int) -> None:
    """Waits until a run has put down this start, which it does before its first step."""
    while process.poll() is None and _starts(workdir) < starts:
        time.sleep(0.02)


def _starts(workdir: Path) -> int:
    path = workdir / "environment.json"
    return len(json.loads(path.read_text())) if path.exists() else 0


def _steps_logged(workdir: Path) -> int:
    """The step of the last whole line of the log."""
    with contextlib.suppress(FileNotFoundError):
        lines = (workdir / "steps.jsonl").read_text().split("\n")[:-1]
        return json.loads(lines[-1])["step"] if lines else 0
    return 0


def _steps_saved(workdir: Path) -> int:
    """The newest whole checkpoint."""
    steps = [path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return max(map(int, steps), default=0)


def _same_weights(a: Path, b: Path) -> bool:
    names = sorted(path.name for path in (a / "weights").glob("*.safetensors"))
    return bool(names) and all(
        (a / "weights" / name).read_bytes() == (b / "weights" / name).read_bytes() for name in names
    )


def _losses(workdir: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (workdir / "steps.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
