"""Meshes of fake devices compute what one device does, and exchange what they must."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny_model import random_params
from tiny_run import tiny_config

from aa_jax.config import MeshConfig
from aa_jax.training import collectives, losses, partitioning, program, step
from aa_jax.training.partitioning import AXES

SLOW_MESHES = [(8, 1, 1), (1, 8, 1), (4, 1, 2)]
TRAINABLE = ("denoising_unet", "motion_module")


def run_on(sizes, *, frames=4, zero1=True, dtype="float32", **train):
    """A run of the smallest model with motion modules, one example per part of the batch."""
    mesh = dict(zip(AXES, sizes, strict=True))
    parts = math.prod(sizes[:2] if frames > 1 else sizes)
    config = tiny_config(**{"batch_size": parts, "trainable": TRAINABLE, **train})
    model = dataclasses.replace(
        config.model,
        unet=dataclasses.replace(
            config.model.unet, block_out_channels=(8,), attention_levels=(True,)
        ),
        motion_module=dataclasses.replace(
            config.model.motion_module, enabled=frames > 1, num_attention_layers=1
        ),
    )
    return dataclasses.replace(
        config,
        model=model,
        train=dataclasses.replace(config.train, dtype=dtype),
        data=dataclasses.replace(config.data, frames=frames),
        mesh=MeshConfig(**mesh, zero1=zero1),
    )


def partitioning_of(config):
    """Arrays of 64 numbers are already divided."""
    return dataclasses.replace(partitioning.make_partitioning(config), min_size=64)


def batch_of(config):
    rng = np.random.default_rng(0)
    b, t, size = config.train.batch_size, config.data.frames, config.data.width

    def pictures(*shape):
        return rng.integers(0, 256, (*shape, size, size, 3), dtype=np.uint8)

    return {
        "example_id": np.arange(b, dtype=np.uint32),
        "reference": pictures(b),
        "target": pictures(b, t),
        "skeleton": pictures(b, t),
        "clip_pixels": rng.standard_normal((b, 8, 8, 3)).astype(np.float32),
    }


def params_of(config, dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), random_params(config.model))
    trainable = {name: params.pop(name) for name in config.train.trainable}
    return trainable, params


def loss_and_gradients(config):
    loss_fn = losses.make_loss(config)

    def call(trainable, frozen, batch):
        keys = step.example_keys(0, "train", jnp.int32(0), batch["example_id"])
        (loss, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(trainable, frozen, batch, keys)
        return loss, grads

    return call


def compile_on_mesh(config, trainable, frozen, batch):
    """The loss and its gradients compiled for the config's mesh, and its arguments there."""
    rules = partitioning_of(config)
    placed = (
        rules.place_params(trainable),
        rules.place_params(frozen),
        rules.place_batch(batch, config.train.batch_size),
    )
    with rules.active():
        shardings = rules.replicated, rules.params(trainable)
        lowered = jax.jit(loss_and_gradients(config), out_shardings=shardings).lower(*placed)
    return lowered, placed


@pytest.fixture
def float64(monkeypatch):
    """Every float32 of the model becomes a float64, so that only true differences remain."""
    monkeypatch.setattr(jnp, "float32", jnp.float64)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize(
    "sizes", [(2, 2, 2), *(pytest.param(mesh, marks=pytest.mark.slow) for mesh in SLOW_MESHES)]
)
def test_loss_and_gradients_equal_those_of_one_device(sizes, float64):
    """And parameters are all that is ever gathered; motion modules exchange frames for space."""
    config = run_on(sizes, dtype="float64")
    batch = batch_of(config)
    trainable, frozen = params_of(config, np.float64)
    lowered, placed = compile_on_mesh(config, trainable, frozen, batch)
    compiled = lowered.compile()
    loss, grads = compiled(*placed)
    expected_loss, expected = jax.jit(loss_and_gradients(config))(trainable, frozen, batch)

    assert loss.dtype == np.float64
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-10)
    scales = [np.abs(x).max() for x in jax.tree.leaves(expected)]
    # One context token needs no queries and keys of its attention, whose gradients are zero.
    assert sum(scale > 0 for scale in scales) > 0.8 * len(scales)
    for ours, theirs, scale in zip(
        jax.tree.leaves(grads), jax.tree.leaves(expected), scales, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale)

    found = collectives.arrays_of(compiled.as_text())
    sizes_of_params = {x.size for x in jax.tree.leaves((trainable, frozen))}
    halves = {size // 2 for size in sizes_of_params}  # value and gate of a GEGLU
    gathered = {n for kind, numbers in found if kind == "all-gather" for n in numbers}
    assert gathered <= sizes_of_params | halves
    assert bool(gathered) == (sizes[1] > 1)
    # Two motion modules (down, up) and that of the mid block: there and back, and the gradients.
    modules = 1 + 1 + 2
    exchanged = [kind for kind, _ in found].count("all-to-all")
    assert exchanged == (4 * modules if sizes[2] > 1 else 0)


def test_constraints_reach_the_lowered_program():
    """flax's constraints do nothing where they see no mesh; these do."""
    config = run_on((2, 1, 2))
    trainable, frozen = params_of(config, np.float32)
    text = compile_on_mesh(config, trainable, frozen, batch_of(config))[0].as_text()
    assert text.count("sharding_constraint") >= 20
    assert re.search(r'sharding_constraint .*\[\{"data", "fsdp"\}, \{"context"\}, \{\}', text)
    assert "all_to_all" in text


def numbers_reduced(unet):
    """Of all gradients of a denoising UNet, as long as nothing is reduced in vain.

    One context token needs no queries, keys and norm of its attention. What projects a clip's own
    tokens projects its reference's too: their gradients come from two places, which XLA for CPUs
    adds after the reduction.
    """

    def times(path):
        _, _, name = path.partition("transformer_blocks_0.")
        if name.startswith(("norm2.", "attn2.to_q.", "attn2.to_k.")):
            return 0
        return 2 if name.startswith(("attn1.to_k.", "attn1.to_v.")) else 1

    return sum(times(path) * x.size for path, x in flatten_dict(unet, sep=".").items())


@pytest.mark.slow
@pytest.mark.parametrize("zero1", [False, True])
def test_data_parallel_steps_reduce_gradients_once(zero1):
    """With ZeRO-1 new parameters are gathered besides; activations never move."""
    config = run_on((8, 1, 1), frames=1, zero1=zero1, trainable=("denoising_unet",))
    rules = partitioning_of(config)
    trainable, frozen = params_of(config, np.float32)
    state = program.initial_state(config, rules, trainable)
    made = program.TrainProgram(config, rules)
    batch = rules.place_batch(batch_of(config), config.train.batch_size)
    compiled = made.compile(state, rules.place_params(frozen), batch)
    found = collectives.arrays_of(compiled.call.as_text())
    reductions = [numbers for kind, numbers in found if kind in ("all-reduce", "reduce-scatter")]
    with_gradients = [numbers for numbers in reductions if max(numbers) > 1]  # norms are apart
    assert len(with_gradients) == 1
    figures = 1 + 2 * losses.TIMESTEP_BUCKETS  # loss, and losses by timestep
    assert sum(with_gradients[0]) == numbers_reduced(trainable["denoising_unet"]) + figures
    gathered = {n for kind, numbers in found if kind == "all-gather" for n in numbers}
    assert gathered <= {x.size for x in jax.tree.leaves(trainable)}
    assert bool(gathered) == zero1
