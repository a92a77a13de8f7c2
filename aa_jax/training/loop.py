"""A training run, read top to bottom: mesh, data, state, step, loop, weights directory."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from aa_jax import runtime, weights
from aa_jax.config import RunConfig
from aa_jax.data import latent_cache, loader, sources
from aa_jax.training import (
    chips,
    environment,
    failure,
    partitioning,
    preemption,
    program,
    validation,
    workdir,
)
from aa_jax.training.checkpoints import Checkpoints
from aa_jax.training.distributed import say
from aa_jax.training.networks import initial_params
from aa_jax.training.reporting import NonFiniteError, Reporter, Speed


def run(config: RunConfig, folder: Path) -> Path | None:
    """Trains until `config.train.steps`, from the newest checkpoint of `folder` if it has one.

    Args:
      folder: the run's work directory; of several processes all must see the same.

    Returns:
      The weights directory written at the end, `folder/weights`; None where SIGTERM told the run
      to stop, which leaves a checkpoint to go on from.

    Raises:
      ConfigError: the config cannot train on these devices, or `folder` belongs to another config.
      DatasetError: `config.data.source` is no dataset that can be trained on.
      WeightsError: `config.init.weights` cannot be used.
      CheckpointError: checkpoints cannot be read or written.
      FloatingPointError: a step is not finite; the message says where the step is kept.
    """
    runtime.watch_memory_maps()
    last_step = config.train.steps
    sources.open_source(config.data)  # a mistake is told before anything is written
    partition = partitioning.make_partitioning(config)
    workdir.claim(config, folder)
    say(partitioning.describe(partition))
    for note in config.train.notes:
        say(note)

    params = initial_params(config)
    latents = latent_cache.find(config, params)
    if latents:
        say(f"latents are read from {latents.folder}")
    trainable, frozen = program.split(config, params)
    checkpoints = Checkpoints(folder, config.train)
    abstract_state = program.abstract_state(config, partition, trainable)
    state = checkpoints.restore(abstract_state)
    state = state or program.initial_state(config, partition, trainable)
    frozen = partition.place_params(frozen)
    first_step = int(state.step)

    host, hosts = partition.hosts(config.train.batch_size)
    batches = functools.partial(
        loader.batches,
        config.data,
        config.skeleton,
        config.model,
        batch_size=config.train.batch_size,
        latents=latents,
        host=host,
        hosts=hosts,
    )
    if not latents and (encode := latent_cache.encoding_ahead(config, params)):
        batches = _mapped(encode, batches)
    del params, trainable

    speed, announce = _speed(config, partition)
    train_step = program.TrainProgram(config, partition, announce)
    validate = validation.make_validation(config, folder) if jax.process_index() == 0 else None
    if jax.process_index() == 0:
        mesh = dict(partition.mesh.shape)
        environment.record(folder / "environment.json", first_step=first_step, mesh=mesh)

    with (
        contextlib.closing(checkpoints),
        Reporter(folder, config, first_step=first_step, speed=speed) as report,
        preemption.watching(checkpoints.reached_preemption) as told_to_stop,
    ):
        try:
            for batch in speed.timed(batches(first_step=first_step, last_step=last_step)):
                batch = partition.place_batch(batch, config.train.batch_size)
                state, metrics = train_step(state, frozen, batch)
                done = report.step(metrics)
                stop = told_to_stop(done)
                if stop or checkpoints.due(done):
                    report.flush()  # what is saved is known to be sound
                    checkpoints.save(done, state, force=stop)
                if stop:
                    say(f"stopped at step {done}, which is saved; the same command goes on")
                    return None
                if done % config.train.validate_every == 0 and done < last_step:
                    params = partition.gather({**frozen, **state.averaged})
                    report.validation(validate(params, done) if validate else {})
            report.flush()
        except NonFiniteError as error:
            batch = next(batches(first_step=error.step - 1, last_step=error.step))
            kept = failure.dump(folder, error, state, batch, host)
            raise FloatingPointError(f"{error}; {kept} holds what replays it") from None
        checkpoints.save(last_step, state, force=True)
        params = partition.gather({**frozen, **state.averaged})
        figures = validate(params, last_step) if validate else {}
        report.validation(figures)
    return _write_weights(config, folder, params, figures)


def _mapped(encode: Callable, batches: Callable) -> Callable:
    return lambda **steps: map(encode, batches(**steps))


def _speed(
    config: RunConfig, partition: partitioning.Partitioning
) -> tuple[Speed, Callable[[program.Compiled], None]]:
    """Rates of the run, and what tells them, and the user, of a program just compiled."""
    chip = chips.find(jax.devices()[0].device_kind)
    speed = Speed(
        batch_size=config.train.batch_size,
        devices=partition.mesh.size,
        peak_flops=chip.flops if chip else 0.0,
    )

    def announce(compiled: program.Compiled) -> None:
        memory = ", ".join(f"{n / 2**30:.2f} GiB {name}" for name, n in compiled.memory.items())
        say(f"step of {compiled.flops / 1e12:.3g} TFLOP; on each device {memory}")
        speed.flops, speed.model_flops = compiled.flops, compiled.model_flops
        speed.pause()

    return speed, announce


def _write_weights(
    config: RunConfig, folder: Path, params: dict[str, Any], figures: dict[str, float]
) -> Path:
    """Process 0 writes `folder/weights`; the others wait for it."""
    directory = folder / "weights"
    if jax.process_index() == 0:
        provenance = {"run": config.name, "steps": config.train.steps, "validation": figures}
        saved = weights.WeightsConfig(
            model=config.model,
            schedule=config.schedule,
            skeleton=config.skeleton,
            sampling=config.sampling,
            provenance=provenance,
        )
        weights.save(directory, saved, params)
        print(f"weights written to {directory}")
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("weights written")
    return directory
