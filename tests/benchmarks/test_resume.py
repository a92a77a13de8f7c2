"""The judge of killed runs, with runs of a few lines in the place of training."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import resume

RUN = """
import json, pathlib, sys, time
flags = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder, steps = pathlib.Path(flags["--workdir"]), int(flags["--config.train.steps"])
folder.mkdir(parents=True, exist_ok=True)

def write(path, text):
    # Whole or not at all: a kill may fall between any two calls.
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)

starts = folder / "environment.json"
write(starts, json.dumps([*(json.loads(starts.read_text()) if starts.exists() else []), {}]))
first = max((int(x.name) for x in folder.glob("checkpoints/*")), default=0)
log = folder / "steps.jsonl"
lines = log.read_text().splitlines(keepends=True)[:first] if log.exists() else []
write(log, "".join(lines))
with log.open("a") as file:
    for step in range(first + 1, steps + 1):
        time.sleep(0.02)
        line = {"step": step, "loss": 1 / (step + SLIP * first)}
        print(json.dumps(line), file=file, flush=True)
        if step % 4 == 0:
            (folder / "checkpoints" / str(step)).mkdir(parents=True, exist_ok=True)
(folder / "weights").mkdir(exist_ok=True)
(folder / "weights" / "vae.safetensors").write_bytes(log.read_bytes())
"""


def judge(tmp_path, monkeypatch, *, slip):
    """Runs the benchmark on runs that go on exactly, or slip by some of the steps done before."""
    script = tmp_path / "run.py"
    script.write_text(RUN.replace("SLIP", str(slip)))
    monkeypatch.setattr(resume, "COMMAND", (sys.executable, str(script)))
    path = tmp_path / "figures.json"
    code = resume.main(["--kills=5", "--runs=2", "--steps=24", f"--json={path}"])
    return code, json.loads(path.read_text())


def test_runs_that_go_on_exactly_pass(tmp_path, monkeypatch):
    code, figures = judge(tmp_path, monkeypatch, slip=0)
    assert code == 0
    assert figures["exact"] == figures["runs"] == 2
    assert [len(result["kills"]) for result in figures["results"]] == [3, 2]
    assert any(kill["saved"] > 0 for result in figures["results"] for kill in result["kills"])
    assert 0 <= figures["most_steps_lost"] <= 4


def test_a_run_that_goes_on_otherwise_fails(tmp_path, monkeypatch):
    code, figures = judge(tmp_path, monkeypatch, slip=1)
    assert code == 1
    assert figures["exact"] < figures["runs"]


def test_a_run_that_cannot_start_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "COMMAND", (sys.executable, str(tmp_path / "none.py")))
    with pytest.raises(SystemExit, match="error: a run left alone fails"):
        resume.main(["--kills=1"])


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_a_judge_told_to_stop_leaves_nothing_behind(tmp_path):
    command = [sys.executable, resume.__file__, "--kills=1"]
    process = subprocess.Popen(command, env={"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not any(tmp_path.glob("*/warm")):  # the run it has started makes this folder
        assert process.poll() is None
        time.sleep(0.02)
    runs = children.read_text().split()
    assert runs
    process.terminate()
    assert process.wait(timeout=60) != 0
    assert not any(Path("/proc", run).exists() for run in runs)
    assert not any(tmp_path.iterdir())
