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
from aa_jax.training import loop

ROOT = Path(__file__).parents[2]


def steps_of(workdir):
    return [json.loads(line) for line in (workdir / "steps.jsonl").read_text().splitlines()]


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
    assert list((finished / "tensorboard").iterdir())
    assert json.loads((finished / "config.json").read_text())["name"] == "tiny"


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


def test_a_workdir_of_another_config_is_refused_naming_the_fields(finished):
    with pytest.raises(ConfigError, match=r"train\.learning_rate: 0\.001 there, 0\.002 here"):
        loop.run(tiny_config(ema_decay=0.9, learning_rate=0.002), finished)


def test_stage_2_trains_the_motion_modules_alone(finished, tmp_path):
    """Given stage-1 weights, when stage 2 trains, then nothing but motion modules changes."""
    import dataclasses

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


def test_the_autoencoder_is_a_task_of_the_same_loop(tmp_path):
    directory = loop.run(tiny_config(task="autoencoder", trainable=("vae",), steps=2), tmp_path)
    config, params = weights.load(directory, networks=["vae"])
    assert set(params) == {"vae"}
    assert {"psnr", "ssim", "latent_std"} == set(config.provenance["validation"])


def test_networks_a_run_does_not_have_cannot_train(tmp_path):
    with pytest.raises(ConfigError, match="motion_module is no part of this run"):
        loop.run(tiny_config(trainable=("motion_module",)), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path):
    with pytest.raises(FloatingPointError, match="at step 2"):
        loop.run(tiny_config(learning_rate=1e30, max_grad_norm=1e30), tmp_path)
