import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError
from aa_jax.data.dataset import DatasetError
from aa_jax.media.video import read_video
from aa_jax.training import failure, loop
from aa_jax.training.reporting import Reporter

ROOT = Path(__file__).parents[2]


def steps_of(workdir):
    return [json.loads(line) for line in (workdir / "steps.jsonl").read_text().splitlines()]


def environment(workdir):
    return json.loads((workdir / "environment.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    loop.run(tiny_config(ema_decay=0.9), workdir)
    return workdir


def test_a_run_leaves_weights_log_pictures_and_config(finished):
    config, params = weights.load(finished / "weights")
    assert config.provenance["steps"] == 4
    assert set(params) == {
        "vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider",
    }  # fmt: skip
    assert [line["step"] for line in steps_of(finished)] == [1, 2, 3, 4]
    assert all(np.isfinite(line["loss"]) for line in steps_of(finished))
    assert (finished / "validation" / "0000004.png").exists()
    frames, _ = read_video(finished / "validation" / "0000004.mp4")
    assert len(frames) == tiny_config().eval.frames
    assert list((finished / "tensorboard").iterdir())
    assert json.loads((finished / "config.json").read_text())["name"] == "tiny"
    (start,) = environment(finished)
    assert start["first_step"] == 0
    assert start["mesh"] == {"data": 1, "fsdp": 1, "context": 1}
    assert start["packages"]["jax"] == jax.__version__


def test_frozen_networks_keep_their_values_and_trainable_ones_move(finished):
    config = tiny_config()
    before = loop.initial_params(config)
    _, after = weights.load(finished / "weights")
    for name in before:
        same = jax.tree.leaves(
            jax.tree.map(lambda a, b: bool((np.asarray(a) == b).all()), before[name], after[name])
        )
        assert all(same) == (name not in config.train.trainable), name


def test_a_killed_run_ends_where_the_uninterrupted_one_does(finished, tmp_path):
    """SIGKILL after the first checkpoint; the same command again; bit-equal weights."""
    code = (
        "import sys; sys.path.insert(0, 'tests'); import conftest\n"
        "from pathlib import Path; from tiny_run import tiny_config\n"
        "from aa_jax.training import loop\n"
        f"loop.run(tiny_config(ema_decay=0.9), Path({str(tmp_path)!r}))"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    checkpoint = tmp_path / "checkpoints" / "2"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    subprocess.run(command, cwd=ROOT, check=True)
    assert [line["step"] for line in steps_of(tmp_path)] == [1, 2, 3, 4]
    for ours, theirs in zip(
        *(jax.tree.leaves(weights.load(w / "weights")[1]) for w in (tmp_path, finished)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_are_never_written_again_and_the_state_keeps_its_place(tmp_path, monkeypatch):
    """What jax 0.10.2 leaves to its callers on a CPU, in a run with saves and validations.

    A device may share the memory of a batch, whatever `device_put` is told; and one living NumPy
    view of the state would keep the next step, to which it is donated, from taking its place.
    """
    handed, kept = [], []
    batches, call = loop.loader.batches, loop.program.TrainProgram.__call__

    def remembered(*args, **kwargs):
        for batch in batches(*args, **kwargs):
            handed.append((batch, {name: np.array(x) for name, x in batch.items()}))
            yield batch

    def places(state):
        return [x.unsafe_buffer_pointer() for x in jax.tree.leaves((state.params, state.ema))]

    def watched(self, state, frozen, batch):
        before = places(state)
        state, metrics = call(self, state, frozen, batch)
        kept.append(before == places(state))
        return state, metrics

    monkeypatch.setattr(loop.loader, "batches", remembered)
    monkeypatch.setattr(loop.program.TrainProgram, "__call__", watched)
    loop.run(tiny_config(ema_decay=0.9, steps=5, save_every=1, validate_every=2), tmp_path)
    assert len(handed) == len(kept) == 5
    for batch, copies in handed:
        jax.tree.map(np.testing.assert_array_equal, batch, copies)
    assert all(kept)


def test_a_workdir_of_another_config_is_refused_naming_the_fields(finished):
    with pytest.raises(ConfigError, match=r"train\.learning_rate: 0\.001 there, 0\.002 here"):
        loop.run(tiny_config(ema_decay=0.9, learning_rate=0.002), finished)


def test_stage_2_trains_the_motion_modules_alone(finished, tmp_path):
    """Given stage-1 weights, when stage 2 trains, then nothing but motion modules changes."""
    config = tiny_config("stage2", steps=1, trainable=("motion_module",), batch_size=2)
    motion = dataclasses.replace(config.model.motion_module, enabled=True)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, motion_module=motion),
        data=dataclasses.replace(config.data, frames=3),
        init=dataclasses.replace(
            config.init,
            weights=str(finished / "weights"),
            networks=("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider"),
        ),
    )
    loop.run(config, tmp_path)
    _, stage1 = weights.load(finished / "weights")
    _, stage2 = weights.load(tmp_path / "weights")
    for name, tree in stage1.items():
        jax.tree.map(np.testing.assert_array_equal, tree, stage2[name])
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(stage2["motion_module"]))


def test_the_autoencoder_is_a_task_of_the_same_loop(tmp_path, capsys):
    """In a smoke run of two steps; what the warm-up is then is said."""
    train = {"task": "autoencoder", "trainable": ("vae",), "steps": 2, "warmup_steps": 100}
    directory = loop.run(tiny_config(**train), tmp_path)
    assert "train.warmup_steps=100 is cut to the run's 2 steps" in capsys.readouterr().out
    config, params = weights.load(directory, networks=["vae"])
    assert set(params) == {"vae"}
    assert {"psnr", "ssim", "latent_std"} == set(config.provenance["validation"])


def test_networks_a_run_does_not_have_cannot_train(tmp_path):
    with pytest.raises(ConfigError, match="motion_module is no part of this run"):
        loop.run(tiny_config(trainable=("motion_module",)), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path):
    """The step can be taken again from what it leaves; the last good checkpoint stays."""
    with pytest.raises(FloatingPointError, match=r"at step 2 .*examples 4 to 7.*not_finite"):
        loop.run(tiny_config(learning_rate=1e30, max_grad_norm=1e30, save_every=1), tmp_path)
    assert [line["step"] for line in steps_of(tmp_path)] == [1]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1"}
    kept = tmp_path / "not_finite" / "0000002"
    report = json.loads((kept / "report.json").read_text())
    assert report["example_ids"] == [4, 5, 6, 7]
    again = failure.replay(kept)
    for name, value in report["figures"].items():
        if name in again:
            np.testing.assert_array_equal(again[name], float(value), err_msg=name)
    assert set(again["gradients"]) == set(tiny_config().train.trainable)


def test_sigterm_saves_and_ends_the_run_in_good_order(finished, tmp_path, monkeypatch):
    """Given SIGTERM during step 3, then that step is saved, and the next start goes on from it."""
    config = tiny_config(ema_decay=0.9)
    report_step = Reporter.step

    def told_at_step_3(self, metrics):
        done = report_step(self, metrics)
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(Reporter, "step", told_at_step_3)
    assert loop.run(config, tmp_path) is None
    assert (tmp_path / "checkpoints" / "3").is_dir()
    assert not (tmp_path / "weights").exists()
    monkeypatch.undo()
    loop.run(config, tmp_path)
    assert [start["first_step"] for start in environment(tmp_path)] == [0, 3]
    for ours, theirs in zip(
        *(jax.tree.leaves(weights.load(w / "weights")[1]) for w in (tmp_path, finished)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_source_that_is_no_dataset_is_told_before_anything_is_written(tmp_path):
    config = tiny_config()
    data = dataclasses.replace(config.data, source=str(tmp_path / "none"))
    with pytest.raises(DatasetError, match="none: no finished dataset"):
        loop.run(dataclasses.replace(config, data=data), tmp_path / "run")
    assert not list(tmp_path.iterdir())
