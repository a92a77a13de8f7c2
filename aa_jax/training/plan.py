"""What a run will cost, found without allocating anything: `train.py --dry_run`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from aa_jax import weights
from aa_jax.config import RunConfig
from aa_jax.models import attention
from aa_jax.training import losses, state, step
from aa_jax.training.networks import check_trainable, networks_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of a training run.

    Attributes:
      parameters: number of parameters by network.
      flops: floating-point operations of one optimizer step, a multiply-add counted as two,
        recomputation of the backward pass included.
      memory: bytes by purpose, on one device.
    """

    parameters: dict[str, int]
    trainable: tuple[str, ...]
    flops: float
    memory: dict[str, int]


def make_plan(config: RunConfig) -> Plan:
    """Traces the run's training step with abstract arrays.

    Raises:
      ConfigError: a trainable network is no part of the model.
    """
    check_trainable(config)
    train = config.train
    micro = dataclasses.replace(
        train, batch_size=train.batch_size // train.accumulation_steps, accumulation_steps=1
    )
    shapes = weights.abstract_params(config.model)
    params = {name: shapes[name] for name in networks_of(config)}
    trainable = {name: params[name] for name in train.trainable}
    frozen = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(train.dtype)),
        {name: tree for name, tree in params.items() if name not in trainable},
    )
    abstract_state = jax.eval_shape(lambda p: state.create(p, train), trainable)
    batch = _abstract_batch(config, micro.batch_size)
    loss_fn = losses.make_loss(config)

    def residuals(trainable: Any, frozen: Any, batch: Any, keys: Any) -> Any:
        return jax.vjp(lambda p: loss_fn(p, frozen, batch, keys)[0], trainable)[1]

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), micro.batch_size))
    with attention.all_heads_at_once():
        train_step = jax.jit(step.make_train_step(loss_fn, micro, seed=config.seed))
        lowered = train_step.lower(abstract_state, frozen, batch)
        saved = jax.eval_shape(residuals, trainable, frozen, batch, keys)
    parameter_bytes = _bytes(trainable) + _bytes(frozen)
    return Plan(
        parameters={name: _count(tree) for name, tree in params.items()},
        trainable=train.trainable,
        flops=lowered.cost_analysis()["flops"] * train.accumulation_steps,
        memory={
            "parameters": parameter_bytes,
            "optimizer moments": _bytes(abstract_state.opt_state),
            "averaged parameters": _bytes(abstract_state.ema),
            "gradients": _bytes(trainable),
            # What the backward pass reads again includes the parameters, counted above.
            "activations kept": max(_bytes(saved) - parameter_bytes, 0),
        },
    )


def describe(config: RunConfig) -> str:
    """The plan as a table to print."""
    plan = make_plan(config)
    lines = [f"{config.name}: {config.train.steps} steps of {config.train.batch_size} examples"]
    lines += ["", "parameters"]
    for name, count in plan.parameters.items():
        role = "trains" if name in plan.trainable else "frozen"
        lines.append(f"  {name:<20} {count / 1e6:>10.2f} M  {role}")
    lines += ["", f"FLOPs per step {plan.flops / 1e12:.2f} T, recomputation included"]
    lines += ["", "memory on one device"]
    for purpose, size in plan.memory.items():
        lines.append(f"  {purpose:<20} {size / 2**30:>10.2f} GiB")
    lines.append(f"  {'sum':<20} {sum(plan.memory.values()) / 2**30:>10.2f} GiB")
    lines.append(
        "  an estimate: what a layer needs while it runs comes on top; activations are those of "
        f"{config.train.batch_size // config.train.accumulation_steps} examples at once"
    )
    return "\n".join(lines)


def _abstract_batch(config: RunConfig, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    data, size = config.data, config.model.image_encoder.image_size
    picture = (data.height, data.width, 3)
    shapes = {
        "example_id": ((), jnp.uint32),
        "reference": (picture, jnp.uint8),
        "clip_pixels": ((size, size, 3), jnp.float32),
        "target": ((data.frames, *picture), jnp.uint8),
        "skeleton": ((data.frames, *picture), jnp.uint8),
    }
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), dtype)
        for name, (shape, dtype) in shapes.items()
    }


def _count(tree: Any) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
