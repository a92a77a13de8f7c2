"""What a run will cost, found without allocating anything: `train.py --dry_run`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from aa_jax import weights
from aa_jax.config import ConfigError, RunConfig
from aa_jax.data import latent_cache
from aa_jax.data.latent_cache import LatentCache
from aa_jax.kernels import attention as attention_kernels
from aa_jax.training import chips, flops, losses, networks, partitioning, program, state, step
from aa_jax.training.collectives import Collective, collectives_of
from aa_jax.training.partitioning import Partitioning

EXPECTED_UTILISATION = 0.4
"""Share of a chip's peak that well-tuned training of such networks reaches."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of a training run.

    Attributes:
      parameters: number of parameters by network.
      flops: floating-point operations of one optimizer step over all devices, a multiply-add
        counted as two, recomputation of the backward pass included.
      memory: bytes by purpose, on one device.
    """

    parameters: dict[str, int]
    trainable: tuple[str, ...]
    flops: float
    memory: dict[str, int]


def find_latents(config: RunConfig) -> LatentCache | None:
    """The cached latents that the run will read; loads the networks that made them, if any did.

    Raises:
      ConfigError, WeightsError: as the run itself would.
    """
    if not latent_cache.candidates(config):
        return None
    encoders = networks.initial_params(config, only=("vae", "image_encoder"))
    return latent_cache.find(config, encoders)


def make_plan(config: RunConfig, latents: LatentCache | None = None) -> Plan:
    """Traces the run's training step with abstract arrays, for one device.

    Args:
      latents: what the step reads instead of encoding pictures.

    Raises:
      ConfigError: a trainable network is no part of the model.
    """
    train = config.train
    micro_batch = train.batch_size // train.accumulation_steps
    trainable, frozen, batch = abstract_inputs(config, latents)
    abstract_state = jax.eval_shape(lambda p: state.create(p, train), trainable)
    loss_fn = losses.make_loss(config)

    def residuals(trainable: Any, frozen: Any, batch: Any, keys: Any) -> Any:
        return jax.vjp(lambda p: loss_fn(p, frozen, batch, keys)[0], trainable)[1]

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), micro_batch))
    micro = {
        k: jax.ShapeDtypeStruct((micro_batch, *x.shape[1:]), x.dtype) for k, x in batch.items()
    }
    seed = step.seed_argument(config.seed)
    with attention_kernels.using("xla"):
        train_step = jax.jit(step.make_train_step(loss_fn, train))
        counted = flops.count(train_step.trace(abstract_state, frozen, batch, seed).jaxpr)
        saved = jax.eval_shape(residuals, trainable, frozen, micro, keys)
    parameter_bytes = _bytes(trainable) + _bytes(frozen)
    return Plan(
        parameters={name: _count(tree) for name, tree in (trainable | frozen).items()},
        trainable=train.trainable,
        flops=counted,
        memory={
            "parameters": parameter_bytes,
            "optimizer moments": _bytes(abstract_state.opt_state),
            "averaged parameters": _bytes(abstract_state.ema),
            "gradients": _bytes(trainable),
            # What the backward pass reads again includes the parameters, counted above.
            "activations kept": max(_bytes(saved) - parameter_bytes, 0),
        },
    )


@dataclasses.dataclass(frozen=True)
class MeshPlan:
    """What the step compiled for a mesh does on one device.

    Attributes:
      flops: of one step, recomputation included.
      memory: bytes by purpose, as the compiler reports them.
      collectives: what it exchanges, per kind.
    """

    flops: float
    memory: dict[str, int]
    collectives: tuple[Collective, ...]

    def step_seconds(self, chip: chips.Chip) -> float:
        """A rough step time: arithmetic at a usual share of peak, exchanges at the links' speed.

        As if nothing overlapped.
        """
        exchanged = sum(c.bytes for c in self.collectives)
        return self.flops / (chip.flops * EXPECTED_UTILISATION) + exchanged / chip.link_bandwidth


def make_mesh_plan(
    config: RunConfig, rules: Partitioning, latents: LatentCache | None = None
) -> MeshPlan:
    """Compiles the run's training step for a mesh, without parameters or data.

    Attention is compiled in blocks of queries, whose scores are recomputed in the backward pass,
    in the place of the fused kernels of the chips meant, which a CPU cannot compile.

    Args:
      latents: as in `make_plan`.

    Raises:
      ConfigError: a trainable network is no part of the model.
    """
    made = program.TrainProgram(config, rules)
    with attention_kernels.using("blocked"):
        compiled = made.compile(*placed_inputs(config, rules, latents))
    return MeshPlan(
        flops=compiled.flops / rules.mesh.size,
        memory=compiled.memory,
        collectives=collectives_of(compiled.call.as_text()),
    )


def describe(config: RunConfig, *, compiled: bool = False) -> str:
    """The plan as a table to print.

    Args:
      compiled: for the config's mesh, from the compiled step.

    Raises:
      ConfigError: a trainable network is no part of the model, or the mesh does not fit.
    """
    latents = find_latents(config)
    plan = make_plan(config, latents)
    lines = [f"{config.name}: {config.train.steps} steps of {config.train.batch_size} examples"]
    lines += config.train.notes
    if latents:
        lines.append(f"latents are read from {latents.folder}")
    lines += ["", "parameters"]
    for name, count in plan.parameters.items():
        role = "trains" if name in plan.trainable else "frozen"
        lines.append(f"  {name:<20} {count / 1e6:>10.2f} M  {role}")
    lines += ["", f"FLOPs per step {plan.flops / 1e12:.2f} T, recomputation included"]
    if compiled:
        return "\n".join([*lines, "", *_describe_mesh(config, latents)])
    lines += ["", "memory on one device"]
    for purpose, size in plan.memory.items():
        lines.append(f"  {purpose:<20} {size / 2**30:>10.2f} GiB")
    lines.append(f"  {'sum':<20} {sum(plan.memory.values()) / 2**30:>10.2f} GiB")
    lines.append(
        "  an estimate: what a layer needs while it runs comes on top; activations are those of "
        f"{config.train.batch_size // config.train.accumulation_steps} examples at once"
    )
    return "\n".join(lines)


def _describe_mesh(config: RunConfig, latents: LatentCache | None) -> list[str]:
    rules = partitioning.make_partitioning(config)
    trainable, frozen, _ = abstract_inputs(config, latents)
    plan = make_mesh_plan(config, rules, latents)
    needed = sum(plan.memory.values())
    lines = [partitioning.format_table(partitioning.table(rules, trainable | frozen)), ""]
    lines += [
        partitioning.describe(rules),
        f"each device: {plan.flops / 1e12:.2f} TFLOP per step; attention compiled in blocks, in "
        "the place of a fused kernel",
    ]
    lines += [f"  {purpose:<20} {size / 2**30:>10.2f} GiB" for purpose, size in plan.memory.items()]
    lines += ["", "exchanged per device and step"]
    lines += [
        f"  {c.kind:<20} {c.count:>5} times {c.bytes / 2**20:>12.1f} MiB" for c in plan.collectives
    ] or ["  nothing"]
    lines += ["", f"at {EXPECTED_UTILISATION:.0%} of peak, exchanges not overlapped"]
    for name, chip in chips.CHIPS.items():
        fits = "fits" if needed <= chip.memory else "does not fit"
        lines.append(f"  {name:<10} {plan.step_seconds(chip):>8.2f} s per step, {fits}")
    return lines


def use_fake_devices(config: RunConfig) -> None:
    """Makes as many CPU devices as the config's mesh has; before anything touches a device.

    Raises:
      ConfigError: the process already has fewer.
    """
    mesh = config.mesh
    count = max(mesh.data, 1) * mesh.fsdp * mesh.context
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # devices are in use
        if jax.device_count() < count:
            raise ConfigError(f"--mesh: needs {count} devices to plan for") from None


def abstract_inputs(
    config: RunConfig, latents: LatentCache | None = None
) -> tuple[Any, Any, dict[str, jax.ShapeDtypeStruct]]:
    """Networks that learn, frozen ones, and a batch, without numbers."""
    networks.check_trainable(config)
    shapes = weights.abstract_params(config.model)
    params = {name: shapes[name] for name in networks.networks_of(config)}
    trainable = {name: params[name] for name in config.train.trainable}
    frozen = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(config.train.dtype)),
        {name: tree for name, tree in params.items() if name not in trainable},
    )
    return trainable, frozen, abstract_batch(config, latents)


def placed_inputs(
    config: RunConfig, rules: Partitioning, latents: LatentCache | None = None
) -> tuple[state.TrainState, Any, dict[str, jax.ShapeDtypeStruct]]:
    """State, frozen networks and a batch as they lie on a mesh, without numbers."""
    trainable, frozen, batch = abstract_inputs(config, latents)
    placed_state = program.abstract_state(config, rules, trainable)
    return placed_state, _on(rules.params(frozen), frozen), _on(rules.batch(batch), batch)


def _on(shardings: Any, shapes: Any) -> Any:
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def abstract_batch(
    config: RunConfig, latents: LatentCache | None
) -> dict[str, jax.ShapeDtypeStruct]:
    """What `aa_jax.data.loader.Examples` gives, batched."""
    data, model = config.data, config.model
    size = model.image_encoder.image_size
    picture = (data.height, data.width, 3)
    shapes = {
        "example_id": ((), jnp.uint32),
        "skeleton": ((data.frames, *picture), jnp.uint8),
    }
    if latents:
        factor, channels = model.autoencoder.downscale_factor, model.autoencoder.latent_channels
        moments = (data.height // factor, data.width // factor, 2 * channels)
        shapes["reference_moments"] = (moments, jnp.bfloat16)
        shapes["target_moments"] = ((data.frames, *moments), jnp.bfloat16)
    if not latents or model.reference.reads_picture:
        shapes["reference"] = (picture, jnp.uint8)
    if not latents:
        shapes["target"] = ((data.frames, *picture), jnp.uint8)
    if latents and latents.embeds:
        shapes["image_embeds"] = ((1, model.image_encoder.projection_dim), jnp.bfloat16)
    else:
        shapes["clip_pixels"] = ((size, size, 3), jnp.float32)
    return {
        name: jax.ShapeDtypeStruct((config.train.batch_size, *shape), dtype)
        for name, (shape, dtype) in shapes.items()
    }


def _count(tree: Any) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
