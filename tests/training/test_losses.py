import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import random_params
from tiny_run import tiny_config

from aa_jax.diffusion import ddim
from aa_jax.training import losses, plan


def draw(timesteps, examples=4000, **train):
    config = tiny_config(timesteps=timesteps, **train)
    config = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, steps=4))
    keys = jax.random.split(jax.random.key(0), examples)
    return config, np.asarray(losses.draw_timesteps(config, keys))


def test_timesteps_are_uniform_over_the_schedule():
    config, timesteps = draw("uniform")
    count = config.schedule.num_train_timesteps
    assert timesteps.min() >= 0
    assert timesteps.max() < count
    shares = np.histogram(timesteps, bins=8, range=(0, count))[0] / len(timesteps)
    np.testing.assert_allclose(shares, 1 / 8, atol=0.025)


def test_a_shift_draws_much_noise_more_often():
    """At 3 half of the draws lie beyond 3/4 of the schedule, at 1/3 as many before 1/4."""
    config, timesteps = draw("uniform", timestep_shift=3.0)
    count = config.schedule.num_train_timesteps
    assert timesteps.max() < count
    quartiles = np.quantile(timesteps / count, (0.25, 0.5, 0.75))
    np.testing.assert_allclose(quartiles, (0.5, 0.75, 0.9), atol=0.02)
    _, timesteps = draw("uniform", timestep_shift=1 / 3)
    assert np.median(timesteps / count) == pytest.approx(0.25, abs=0.02)


def test_timesteps_may_be_those_of_the_sampler_alone():
    config, timesteps = draw("sampling")
    visited, counts = np.unique(timesteps, return_counts=True)
    assert set(visited) == set(ddim.timesteps(config.schedule, 4).tolist())
    assert counts / len(timesteps) == pytest.approx(1 / 4, abs=0.03)


def test_consistency_counts_what_noise_changes_in_the_prediction():
    """It is nothing for a network that sees no latents."""
    params = random_params(tiny_config().model)
    blind = {name: dict(tree) for name, tree in params.items()}
    conv_in = params["denoising_unet"]["conv_in"]
    blind["denoising_unet"]["conv_in"] = {**conv_in, "kernel": np.zeros_like(conv_in["kernel"])}

    with_weight = {}
    for weight in (1e-9, 1.0):
        config = tiny_config(condition_dropout=0.0, consistency_weight=weight)
        schedule = dataclasses.replace(config.schedule, prediction_type="sample")
        config = dataclasses.replace(config, schedule=schedule)
        rng = np.random.default_rng(0)
        batch = {
            name: jnp.asarray(rng.uniform(0, 255, shape.shape).astype(shape.dtype))
            for name, shape in plan.abstract_batch(config, None).items()
        }
        keys = jax.random.split(jax.random.key(1), config.train.batch_size)
        loss = jax.jit(losses.make_loss(config))
        with_weight[weight] = [float(loss(tree, {}, batch, keys)[0]) for tree in (params, blind)]

    (seeing, unseeing), (seeing_weighted, unseeing_weighted) = with_weight.values()
    assert seeing_weighted > seeing + 0.01
    assert unseeing_weighted == pytest.approx(unseeing, rel=1e-6)
