"""One optimizer step, as a pure function of state and batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from aa_jax.config import TrainConfig
from aa_jax.training.state import TrainState, learning_rate_schedule
from aa_jax.training.update import update

Batch = dict[str, Array]
Metrics = dict[str, Array]
LossFn = Callable[[PyTree, PyTree, Batch, Array], tuple[Float[Array, ""], Metrics]]
"""(trainable, frozen, batch, keys [b]) -> mean loss and scalars, each a mean over the batch."""


def seed_argument(seed: int) -> np.uint32:
    """A run's seed as compiled steps take it: one serves all seeds.

    `jax.random.key` makes the same key of it: of a Python integer it reads 32 bits too.
    """
    return np.uint32(seed % 2**32)


def example_keys(
    seed: int | Int[Array, ""], stream: str, step: Int[Array, ""], ids: Int[Array, " b"]
) -> Array:
    """Random keys [b] of a step's examples.

    A key depends on seed, stream name, step and the example's global id alone, so that
    micro-batches, devices and hosts draw the same numbers for the same example.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, step), ids)


def make_train_step(
    loss_fn: LossFn,
    config: TrainConfig,
    *,
    place_gradients: Callable[[PyTree], PyTree] = lambda gradients: gradients,
) -> Callable[[TrainState, PyTree, Batch, Int[Array, ""]], tuple[TrainState, Metrics]]:
    """Builds `train_step(state, frozen, batch, seed) -> (state, metrics)`.

    Gradients of `config.accumulation_steps` micro-batches are averaged; since every draw follows
    an example's id, the result equals the large batch to rounding. Only `state.params` is
    differentiated. `seed`, of everything drawn, is a `seed_argument`.

    A step whose loss or gradients are not finite changes nothing but the step count, which turns
    negative (`~step`); so do all steps after it. The host, which learns of it later, finds the
    state from which that step can be taken again.

    Args:
      loss_fn: of one (micro-)batch.
      config: of the run.
      place_gradients: states how gradients lie on a mesh of devices.
    """
    learning_rate = learning_rate_schedule(config)
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def gradients(params: PyTree, frozen: PyTree, batch: Batch, keys: Array) -> Any:
        if config.accumulation_steps == 1:
            return value_and_grad(params, frozen, batch, keys)

        def split(x: Array) -> Array:
            # Every n-th example, so that each device finds its part of every micro-batch in its
            # part of the batch.
            return jnp.swapaxes(x.reshape(-1, config.accumulation_steps, *x.shape[1:]), 0, 1)

        def add_micro_batch(total: PyTree, inputs: Any) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, value_and_grad(params, frozen, *inputs)), None

        micro_batches = (jax.tree.map(split, batch), split(keys))
        first = jax.tree.map(lambda x: x[0], micro_batches)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(value_and_grad, params, frozen, *first),
        )
        total, _ = jax.lax.scan(add_micro_batch, zeros, micro_batches)
        return jax.tree.map(lambda x: x / config.accumulation_steps, total)

    def train_step(
        state: TrainState, frozen: PyTree, batch: Batch, seed: Int[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        keys = example_keys(seed, "train", state.step, batch["example_id"])
        (loss, scalars), grads = gradients(state.params, frozen, batch, keys)
        new_state, norms = update(config, state, place_gradients(grads), loss)
        with jax.numpy_dtype_promotion("standard"):
            rate = jnp.asarray(learning_rate(state.step), jnp.float32)
        return new_state, {"loss": loss, **scalars, **norms, "learning_rate": rate}

    return train_step
