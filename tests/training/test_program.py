import dataclasses

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.training import partitioning, plan, program

CONFIG = tiny_config(task="autoencoder", trainable=("vae",), batch_size=2)


def batch_of(config, step):
    rng = np.random.default_rng(step)
    return {
        "example_id": np.arange(2, dtype=np.uint32) + 2 * step,
        "target": rng.integers(0, 256, (2, 1, 16, 16, 3), dtype=np.uint8),
    }


def test_a_run_compiles_its_step_once_and_gives_its_state_away():
    rules = partitioning.make_partitioning(CONFIG)
    params = weights.init_params(jax.random.key(0), CONFIG.model, ("vae",))
    trainable, frozen = program.split(CONFIG, params)
    announced = []
    train_step = program.TrainProgram(CONFIG, rules, announced.append)
    state = program.initial_state(CONFIG, rules, trainable)
    for number in range(3):
        before = state
        batch = rules.place_batch(batch_of(CONFIG, number), 2)
        state, metrics = train_step(state, frozen, batch)
        assert np.isfinite(metrics["loss"])
        assert all(x.is_deleted() for x in jax.tree.leaves(before) if x.ndim)
    assert int(state.step) == 3
    (compiled,) = announced
    assert compiled.flops == compiled.model_flops > 0
    # Parameters and two moments, in float32, and the batch.
    held = 3 * 4 * sum(x.size for x in jax.tree.leaves(trainable))
    assert held < compiled.memory["arguments"] < held + 10_000


def test_frozen_networks_are_held_in_the_compute_dtype():
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, dtype="bfloat16"))
    tree = {"kernel": np.full((2, 2), 1.001, np.float32)}
    trainable, frozen = program.split(config, {"vae": tree, "image_encoder": tree})
    assert trainable["vae"]["kernel"].dtype == np.float32
    assert frozen["image_encoder"]["kernel"].dtype == jax.numpy.bfloat16
    assert list(trainable) == ["vae"]


@pytest.mark.slow
def test_rematerialisation_needs_less_memory():
    """Whatever the compiler thinks of computing the same again."""
    temporary = {}
    for remat in ("none", "blocks", "full"):
        config = tiny_config(remat=remat)
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, width=64, height=64)
        )
        rules = partitioning.make_partitioning(config)
        compiled = program.TrainProgram(config, rules).compile(*plan.placed_inputs(config, rules))
        temporary[remat] = compiled.memory["temporary"]
    assert max(temporary["blocks"], temporary["full"]) < 0.7 * temporary["none"]
