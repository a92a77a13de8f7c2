"""Runs of several processes on loopback, started by the command line that users type."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError, MeshConfig, RunConfig, from_dict
from aa_jax.training import distributed, networks, partitioning, program
from aa_jax.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
STEPS = 20


def write_config(folder, **train):
    train = {"steps": STEPS, "batch_size": 8, "save_every": 10, **train}
    path = folder / "tiny.py"
    path.write_text(
        f"import dataclasses, sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from ml_collections import ConfigDict; from tiny_run import tiny_config\n"
        f"def get_config(): return ConfigDict(dataclasses.asdict(tiny_config(**{train!r})))\n"
    )
    return path


@pytest.fixture
def start():
    """Starts `train.py`; no process outlives its test."""
    started = []

    def start(config, workdir, *flags, devices):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        command = [sys.executable, "train.py", f"--config={config}", f"--workdir={workdir}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start_two(start):
    """Starts two processes of four devices each."""

    def start_two(config, workdir, *flags):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        ours = [f"--coordinator=localhost:{port}", "--num-processes=2", *flags]
        return [start(config, workdir, *ours, f"--process-id={i}", devices=4) for i in range(2)]

    return start_two


def wait(*processes):
    outputs = [process.communicate(timeout=900) for process in processes]
    for process, (_, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err[-3000:]
    return [out for out, _ in outputs]


def losses_of(workdir):
    lines = map(json.loads, (workdir / "steps.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines}


@pytest.mark.multiprocess
def test_two_processes_train_as_one_does(start, start_two, tmp_path):
    """2 x 4 devices against 1 x 8; and their checkpoint serves any other mesh."""
    config, two, one = write_config(tmp_path), tmp_path / "two", tmp_path / "one"
    first, second = wait(*start_two(config, two, "--mesh=data=4,fsdp=2"))
    assert "weights written" in first
    assert "weights written" not in second
    assert "mesh data=4" in first
    assert "mesh" not in second  # process 0 alone speaks
    wait(start(config, one, "--mesh=data=4,fsdp=2", devices=8))
    ours, theirs = losses_of(two), losses_of(one)
    assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5)

    saved = weights.load(two / "weights")[1]
    run = from_dict(RunConfig, json.loads((two / "config.json").read_text()))
    for mesh in (MeshConfig(data=1), MeshConfig(data=2, fsdp=4)):
        run = dataclasses.replace(run, mesh=mesh)
        rules = dataclasses.replace(partitioning.make_partitioning(run), min_size=64)
        trainable, _ = program.split(run, networks.initial_params(run))
        checkpoints = Checkpoints(two, run.train)
        restored = checkpoints.restore(program.abstract_state(run, rules, trainable))
        checkpoints.close()
        assert int(restored.step) == STEPS
        for name, tree in restored.params.items():
            jax.tree.map(np.testing.assert_array_equal, rules.gather(tree), saved[name])


@pytest.mark.multiprocess
def test_sigterm_to_one_process_stops_all_at_one_step(start_two, tmp_path):
    """And the run goes on with one process."""
    config, workdir = write_config(tmp_path, steps=2000, save_every=1000), tmp_path / "run"
    processes = start_two(config, workdir, "--mesh=data=8")
    log = workdir / "steps.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    out, _ = wait(*processes)
    assert "which is saved" in out
    (step,) = (int(path.name) for path in (workdir / "checkpoints").iterdir() if path.is_dir())
    assert 3 <= step < 2000
    assert max(losses_of(workdir)) == step


@pytest.mark.multiprocess
def test_a_coordinator_that_does_not_answer_is_one_line_in_time(start, tmp_path):
    config = write_config(tmp_path)
    begun = time.monotonic()
    process = start(
        config,
        tmp_path / "run",
        "--coordinator=localhost:9",
        "--num-processes=2",
        "--process-id=1",
        "--distributed-timeout=5",
        devices=1,
    )
    _, err = process.communicate(timeout=120)
    assert time.monotonic() - begun < 100
    assert process.returncode == 1, err[-3000:]
    assert "did not meet at localhost:9 within 5 s" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_flags_that_do_not_go_together_are_refused():
    for numbers in ({"num_processes": 2}, {"num_processes": 2, "process_id": 2}):
        with pytest.raises(ConfigError, match="--process_id from 0 to N-1"):
            distributed.initialize(coordinator="localhost:1", **numbers)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2)])
def test_each_process_loads_the_rows_of_its_devices(sizes):
    """One process has all devices, hence the whole batch as one part."""
    mesh = MeshConfig(**dict(zip(partitioning.AXES, sizes, strict=True)))
    config = dataclasses.replace(tiny_config(batch_size=8), mesh=mesh)
    assert partitioning.make_partitioning(config).hosts(8) == (0, 1)


def test_parts_of_a_batch_need_not_be_contiguous():
    """A TPU slice of 4x4 chips, whose hosts hold 2x2 each, numbers its chips row by row."""
    rows = {0: {0, 1, 4, 5}, 1: {2, 3, 6, 7}, 2: {8, 9, 12, 13}, 3: {10, 11, 14, 15}}
    assert partitioning.distinct_parts(rows) == list(rows.values())
    shared = {0: {2, 3}, 1: {0, 1}, 2: {0, 1}, 3: {2, 3}}
    assert partitioning.distinct_parts(shared) == [{0, 1}, {2, 3}]


@pytest.mark.parametrize("rows", [{0: {0, 1}, 1: {1, 2}}, {0: {0, 1}, 1: {2}}])
def test_processes_share_all_their_clips_or_none(rows):
    with pytest.raises(ConfigError, match=r"mesh\.context: devices that share frames"):
        partitioning.distinct_parts(rows)
