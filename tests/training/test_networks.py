"""What a run starts from: a weights directory, random numbers, or both."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError, InitConfig
from aa_jax.training import networks

SPATIAL = ("vae", "reference_unet", "pose_guider")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A directory with some of the tiny model's networks, and their parameters."""
    config = stage2_config()
    shapes = weights.abstract_params(config.model, SPATIAL)
    params = jax.tree.map(lambda x: np.full(x.shape, 0.25, np.float32), shapes)
    stored = weights.WeightsConfig(
        model=config.model,
        schedule=config.schedule,
        skeleton=config.skeleton,
        sampling=config.sampling,
    )
    folder = tmp_path_factory.mktemp("parts") / "weights"
    weights.save(folder, stored, params)
    return folder


def stage2_config():
    config = tiny_config()
    motion = dataclasses.replace(config.model.motion_module, enabled=True)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, motion_module=motion)
    )


def run_with(folder, trainable, named=()):
    config = stage2_config()
    return dataclasses.replace(
        config,
        init=InitConfig(weights=str(folder), networks=named),
        train=dataclasses.replace(config.train, trainable=trainable),
    )


def test_a_directory_gives_all_it_holds_and_random_numbers_the_rest(parts, monkeypatch, capsys):
    made = {}

    def init_params(key, model, names):
        made.update(dict.fromkeys(names, "random"))
        return dict(made)

    monkeypatch.setattr(weights, "init_params", init_params)
    config = run_with(parts, ("image_encoder", "denoising_unet", "motion_module"))
    params = networks.initial_params(config)

    assert set(params) == set(networks.networks_of(config))
    assert set(made) == set(params) - set(SPATIAL)
    assert all(np.all(x == 0.25) for name in SPATIAL for x in jax.tree.leaves(params[name]))
    assert "gives vae, reference_unet, pose_guider" in capsys.readouterr().out


def test_frozen_networks_must_be_given(parts):
    with pytest.raises(ConfigError, match=r"gives no image_encoder, denoising_unet"):
        networks.initial_params(run_with(parts, ("motion_module",)))


def test_a_named_network_must_be_there(parts):
    with pytest.raises(weights.WeightsError, match="without motion_module"):
        networks.initial_params(run_with(parts, ("denoising_unet",), ("vae", "motion_module")))
