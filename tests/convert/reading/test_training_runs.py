"""Checkpoints of training runs go back to PyTorch files."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from tiny_model import SCHEDULE

from aa_jax import weights
from aa_jax.config import DataConfig, InitConfig, RunConfig, TrainConfig
from aa_jax.models import torch_names
from aa_jax.training import state
from aa_jax.training.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, directory, params):
    """A run after three steps: motion modules at twice the start, their average at thrice."""
    path = tmp_path_factory.mktemp("run")
    config = RunConfig(
        name="tiny",
        model=weights.load_config(directory).model,
        schedule=SCHEDULE,
        data=DataConfig(width=16, height=16),
        train=TrainConfig(trainable=("motion_module",), ema_decay=0.9),
        init=InitConfig(weights=str(directory)),
    )
    (path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    trained = {"motion_module": jax.tree.map(jnp.asarray, params["motion_module"])}
    train_state = state.create(trained, config.train)
    train_state = train_state.replace(
        step=jnp.int32(3),
        params=jax.tree.map(lambda x: 2 * x, trained),
        ema=jax.tree.map(lambda x: 3 * x, trained),
    )
    checkpoints = Checkpoints(path, config.train)
    checkpoints.save(3, train_state, force=True)
    checkpoints.close()
    return path


@pytest.mark.parametrize(("flags", "factor"), [([], 3), (["--raw"], 2), (["--step=3"], 3)])
def test_average_or_raw_parameters_are_exported(
    convert, workdir, params, moore, tmp_path, flags, factor
):
    convert("export", workdir, *flags, "--output", tmp_path / "out")

    exported = torch.load(tmp_path / "out" / "motion_module.pth")
    for key, x in torch_names.to_torch(params["motion_module"]).items():
        np.testing.assert_array_equal(exported[key].numpy(), factor * x)
    # what was frozen comes from where the run started
    frozen = torch.load(tmp_path / "out" / "denoising_unet.pth")
    expected = torch.load(moore / "denoising_unet.pth")
    assert all(torch.equal(frozen[key], expected[key]) for key in expected)
    assert (tmp_path / "out" / "image_encoder" / "model.safetensors").exists()


def test_a_missing_checkpoint_is_named(refused, workdir, tmp_path):
    message = refused("export", workdir, "--step=4", "--output", tmp_path / "out")
    assert "has no checkpoint of step 4; there are: 3" in message
    assert not (tmp_path / "out").exists()


def test_step_and_raw_are_for_runs(refused, directory, tmp_path):
    message = refused("export", directory, "--raw", "--output", tmp_path / "out")
    assert "--step and --raw are for training runs" in message


def test_an_existing_folder_needs_overwrite(refused, directory, tmp_path):
    message = refused("export", directory, "--output", tmp_path)
    assert "exists; choose another --output or --overwrite" in message
