"""One optimizer step of the full Stable Diffusion 1.5 architecture, truly taken, on this machine.

    python benchmarks/full_size.py --stage 2
    python benchmarks/full_size.py --stage 1 --json stage1.json

The networks of configs/stage1.py or configs/stage2.py with random weights take one step on one
example of small pictures: 128x128, in stage 2 a clip of 4 frames, bfloat16 first moments. Printed
are the loss, the norms, the time and the peak memory of the process.

Where state and gradients fit the memory that is free, the training program itself takes the step,
as train.py does. Where they do not, it is taken in parts: loss and all gradients in one program,
then the run's optimizer array by array, whose moments exist for one array at a time only. The
output says which. Nothing is swapped: the process ends with one line before the machine's last GiB
is taken.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Beside the package when started from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparison import free_memory

if TYPE_CHECKING:
    from aa_jax.config import RunConfig

GIB = 2**30

RESERVE = GIB
"""Bytes left to other processes at every moment."""

WORKSPACE = 3 * GIB
"""What activations, casts and the compiled program take besides state, gradients and networks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Takes the step and reports it."""
    flags = _parser().parse_args(argv)
    import jax

    jax.config.update("jax_platforms", "cpu")
    from aa_jax import cli, files, runtime

    runtime.use_compilation_cache()
    _guard_memory()

    def measure() -> None:
        figures = take_step(make_config(flags.stage, flags.size, flags.frames), flags.parts)
        if flags.json:
            files.write_text(flags.json, json.dumps(figures, indent=2) + "\n")

    return cli.report_errors(measure)


def _parser() -> argparse.ArgumentParser:
    from aa_jax.arguments import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--stage", type=int, choices=(1, 2), required=True, help="stage of the paper")
    add("--size", type=int, default=128, help="side of the pictures, in pixels (128)")
    add("--frames", type=int, default=4, help="frames of stage 2's clip (4)")
    add("--parts", action="store_true", help="take the step in parts even where it fits whole")
    add("--json", type=Path, help="file that receives the figures")
    return parser


def make_config(stage: int, size: int, frames: int) -> RunConfig:
    """The paper's stage with one small example.

    Raises:
      ConfigError: the size does not suit the VAE.
    """
    from aa_jax.config import RunConfig, from_dict
    from configs import stage1, stage2

    config = (stage1 if stage == 1 else stage2).get_config()
    config.data.update(width=size, height=size, frames=1 if stage == 1 else frames)
    config.train.update(batch_size=1, accumulation_steps=1, moments_dtype="bfloat16")
    config.mesh.data = 1
    return from_dict(RunConfig, config.to_dict())


def take_step(config: RunConfig, parts: bool = False) -> dict[str, Any]:
    """Compiles and takes the run's first step with random weights, and prints its figures.

    Args:
      parts: take it in parts even where it fits whole.

    Raises:
      ConfigError: not even the parts fit the memory that is free.
      FloatingPointError: loss or gradients are not finite.
    """
    from aa_jax.config import ConfigError

    whole, partly = _sizes(config)
    free = free_memory() - RESERVE
    in_parts = parts or whole > free
    text = f"{whole / GIB:.1f} GiB as a whole, {partly / GIB:.1f} GiB in parts"
    if (partly if in_parts else whole) > free:
        raise ConfigError(f"a step of {config.name} takes {text}; {free / GIB:.1f} GiB are free")
    taken = "in parts" if in_parts else "whole"
    print(f"{config.name}: a step takes about {text}; it is taken {taken}", flush=True)
    figures = (_step_in_parts if in_parts else _whole_step)(config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {"run": config.name, "taken": taken, **figures, "peak_gib": peak / GIB}
    for name, value in figures.items():
        print(f"  {name:<26} {value:.4g}" if isinstance(value, float) else f"  {name:<26} {value}")
    return figures


def _sizes(config: RunConfig) -> tuple[int, int]:
    """Bytes that a step takes as a whole and in parts, roughly."""
    import jax

    from aa_jax.training import plan, state

    trainable, frozen, _ = plan.abstract_inputs(config)
    whole_state = jax.eval_shape(lambda params: state.create(params, config.train), trainable)

    def size(tree: Any) -> int:
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))

    others = size(frozen) + size(trainable) + WORKSPACE  # as large as what learns: its gradients
    return size(whole_state) + others, size(trainable) + others


# --- the step as the training loop takes it -----------------------------------------------------


def _whole_step(config: RunConfig) -> dict[str, Any]:
    import jax

    from aa_jax.training import partitioning, plan, program

    rules = partitioning.make_partitioning(config)
    shapes, frozen, batch = plan.placed_inputs(config, rules)
    made = program.TrainProgram(config, rules)
    begun = time.perf_counter()
    compiled = made.compile(shapes, frozen, batch)
    seconds = {"compile_seconds": time.perf_counter() - begun}
    state = program.initial_state(config, rules, random_like(shapes.params))
    inputs = random_like(frozen), random_batch(batch)
    jax.block_until_ready((state, inputs))
    begun = time.perf_counter()
    state, metrics = jax.block_until_ready(made(state, *inputs))
    seconds["step_seconds"] = time.perf_counter() - begun
    if int(state.step) != 1:
        raise FloatingPointError(f"the step is not finite: {metrics}")
    figures = {name: float(x) for name, x in metrics.items() if not x.ndim}
    return {"tflop": compiled.flops / 1e12, **seconds, **figures}


# --- the same step in parts ---------------------------------------------------------------------


def _step_in_parts(config: RunConfig) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    import optax

    from aa_jax.training import flops, losses, partitioning, plan, program, step

    rules = partitioning.make_partitioning(config)
    shapes, frozen, batch = plan.placed_inputs(config, rules)
    loss_fn = losses.make_loss(config)

    def loss_and_gradients(trainable: Any, frozen: Any, batch: step.Batch) -> Any:
        keys = step.example_keys(config.seed, "train", jnp.int32(0), batch["example_id"])
        (loss, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(trainable, frozen, batch, keys)
        return loss, grads, {name: optax.tree.norm(tree) for name, tree in grads.items()}

    with rules.active():
        begun = time.perf_counter()
        traced = jax.jit(loss_and_gradients).trace(shapes.params, frozen, batch)
        compiled = traced.lower().compile(program.compiler_options())
        seconds = {"compile_seconds": time.perf_counter() - begun}
    trainable, frozen, batch = random_like(shapes.params), random_like(frozen), random_batch(batch)
    jax.block_until_ready((trainable, frozen, batch))
    begun = time.perf_counter()
    loss, grads, norms = jax.block_until_ready(compiled(trainable, frozen, batch))
    seconds["gradients_seconds"] = time.perf_counter() - begun
    del frozen, batch
    begun = time.perf_counter()
    figures = update_by_array(config, trainable, grads)
    seconds["optimizer_seconds"] = time.perf_counter() - begun
    if not math.isfinite(float(loss) + figures["grad_norm"]):
        raise FloatingPointError(f"loss {loss}, norms of gradients {norms}")
    norms = {f"grad_norm_{name}": float(norm) for name, norm in norms.items()}
    tflop = flops.count(traced.jaxpr) / 1e12
    return {"tflop": tflop, **seconds, "loss": float(loss), **norms, **figures}


def update_by_array(config: RunConfig, trainable: Any, grads: Any) -> dict[str, float]:
    """Takes the run's first optimizer step, one array after the other.

    Args:
      trainable: parameter trees by network name, replaced by the new ones.
      grads: their gradients, emptied on the way.

    Returns:
      `grad_norm`, `param_norm` and `update_norm`, as the training step reports them.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from flax import traverse_util

    from aa_jax.training import state
    from aa_jax.training.update import Parts, Rule, clip_factor

    optimizer = state.make_optimizer(config.train)
    # Clipping is the one thing that arrays share.
    grad_norm = jax.jit(optax.tree.norm)(grads)  # whose squares are nowhere all at once
    factor = clip_factor(grad_norm, config.train.max_grad_norm)
    rule = Rule(optimizer, factor, jnp.float32(0))

    @jax.jit
    def update(param: jax.Array, grad: jax.Array) -> tuple[jax.Array, ...]:
        new, updates = rule.update(grad, Parts(param, optimizer.init(param), {}))
        return new.params, *(optax.tree.norm(x, squared=True) for x in (new.params, updates))

    squares = [0.0, 0.0]
    for name in list(trainable):
        params, changes = map(traverse_util.flatten_dict, (trainable.pop(name), grads.pop(name)))
        for path in params:
            params[path], *parts = update(params[path], changes.pop(path))
            squares = [total + float(part) for total, part in zip(squares, parts, strict=True)]
        trainable[name] = traverse_util.unflatten_dict(params)
    param_norm, update_norm = map(math.sqrt, squares)
    return {"grad_norm": float(grad_norm), "param_norm": param_norm, "update_norm": update_norm}


# --- numbers ------------------------------------------------------------------------------------


def random_like(tree: Any) -> Any:
    """Random parameters of the given shapes, dtypes and shardings, made one array at a time.

    Kernels are normal with variance 1 / inputs, scales of norms 1, biases 0: unlike the start of a
    training run, no kernel is zero, so that every gradient there is takes part.
    """
    import jax
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], x: Any) -> Any:
        if len(x.shape) < 2:
            numbers = np.full(x.shape, float(path[-1].key == "scale"), np.float32)
        else:
            numbers = rng.standard_normal(x.shape, dtype=np.float32)
            numbers *= math.prod(x.shape[:-1]) ** -0.5
        return jax.device_put(numbers.astype(x.dtype, copy=False), x.sharding)

    return jax.tree_util.tree_map_with_path(draw, tree)


def random_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """Pictures of noise, of the given shapes, dtypes and shardings."""
    import jax
    import numpy as np

    rng = np.random.default_rng(1)

    def draw(x: Any) -> Any:
        whole_numbers = np.issubdtype(x.dtype, np.integer)
        numbers = rng.integers(0, 256, x.shape) if whole_numbers else rng.standard_normal(x.shape)
        return jax.device_put(numbers.astype(x.dtype), x.sharding)

    return {name: draw(x) for name, x in batch.items()}


# --- memory -------------------------------------------------------------------------------------


def _guard_memory() -> None:
    """Ends the process before the machine runs short of memory."""

    def watch() -> None:
        while free_memory() > RESERVE:
            time.sleep(0.2)
        print(
            f"error: less than {RESERVE / GIB:.0f} GiB of memory is free; stopped", file=sys.stderr
        )
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
