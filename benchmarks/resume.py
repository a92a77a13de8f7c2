"""Kills a training run again and again, and compares its end with that of a run left alone.

    python benchmarks/resume.py --kills 20
    python benchmarks/resume.py --kills 3 --config configs/puppets_stage2.py --json out.json

One run is left alone, and timed. Then, kill after kill, a second run of the same config is started,
killed (SIGKILL) at a random moment, and started again until it ends. Its weights must equal the
first run's bit for bit, and its log the first run's losses. Exit code 0 only if all do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Beside the package when started from a checkout.
sys.path.insert(0, str(ROOT))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, default=20, help="kills in all")
    add("--runs", type=int, default=4, help="runs that share the kills")
    add("--config", default="configs/puppets_stage1.py", help="config of the run")
    add("--steps", type=int, default=24, help="its steps")
    add("--save-every", type=int, default=3, help="steps from checkpoint to checkpoint")
    add("--batch-size", type=int, default=2, help="its batch")
    add("--seed", type=int, default=0, help="of the moments")
    add("--json", type=Path, help="where to write the figures")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), flags)
    print(f"{figures['exact']} of {figures['runs']} killed runs ended bit-exactly")
    if flags.json:
        flags.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["exact"] == figures["runs"] else 1


def measure(folder: Path, flags: argparse.Namespace) -> dict:
    """Starts, kills, compares."""
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        f"--config={flags.config}",
        f"--config.train.steps={flags.steps}",
        f"--config.train.batch_size={flags.batch_size}",
        f"--config.train.save_every={flags.save_every}",
        "--config.train.warmup_steps=0",
        "--config.train.validate_every=1000000",
        "--config.train.validation_clips=1",
        "--mesh=data=1",
    ]
    start_run([*command, f"--workdir={folder / 'warm'}"]).wait()  # fills the compilation cache
    begun = time.perf_counter()
    alone = folder / "alone"
    if start_run([*command, f"--workdir={alone}"]).wait():
        raise SystemExit("error: the run left alone failed")
    duration = time.perf_counter() - begun
    print(f"a run left alone takes {duration:.1f} s")
    shutil.rmtree(folder / "warm")

    moments = random.Random(flags.seed)
    runs = max(1, min(flags.runs, flags.kills))
    results = []
    for index in range(runs):
        workdir = folder / f"killed_{index}"
        kills = flags.kills // runs + (index < flags.kills % runs)
        killed_at = []
        for _ in range(kills):
            process = start_run([*command, f"--workdir={workdir}"])
            wait_or_kill(process, moments.uniform(0.1, 0.9) * duration)
            killed_at.append(last_step(workdir))
        code = start_run([*command, f"--workdir={workdir}"]).wait()
        exact = code == 0 and same_weights(alone, workdir) and same_losses(alone, workdir)
        results.append({"killed_at_step": killed_at, "exact": exact})
        print(f"run {index + 1}: killed after steps {killed_at}: {'exact' if exact else 'DIFFERS'}")
        shutil.rmtree(workdir)
    exact = sum(result["exact"] for result in results)
    return {"seconds": duration, "runs": runs, "exact": exact, "results": results}


def start_run(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_or_kill(process: subprocess.Popen, seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_step(workdir: Path) -> int:
    """The newest whole checkpoint, 0 if there is none yet."""
    steps = [path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return max(map(int, steps), default=0)


def same_weights(a: Path, b: Path) -> bool:
    names = sorted(path.name for path in (a / "weights").glob("*.safetensors"))
    return bool(names) and all(
        (a / "weights" / name).read_bytes() == (b / "weights" / name).read_bytes() for name in names
    )


def same_losses(a: Path, b: Path) -> bool:
    return losses(a) == losses(b)


def losses(workdir: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (workdir / "steps.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
