"""A training run, read top to bottom: data, state, step, loop, weights directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aa_jax import files, weights
from aa_jax.config import ConfigError, RunConfig
from aa_jax.data import loader
from aa_jax.training import losses, state, step, validation
from aa_jax.training.checkpoints import Checkpoints
from aa_jax.training.networks import initial_params
from aa_jax.training.reporting import Reporter


def run(config: RunConfig, workdir: Path) -> Path:
    """Trains until `config.train.steps`, from the newest checkpoint of `workdir` if it has one.

    Returns:
      The weights directory written at the end, `workdir/weights`.

    Raises:
      ConfigError: the config cannot train, or `workdir` belongs to another config.
      WeightsError: `config.init.weights` cannot be used.
      FloatingPointError: the loss is not finite.
    """
    claim_workdir(config, workdir)
    params = initial_params(config)
    frozen_dtype = np.dtype(jnp.dtype(config.train.dtype))
    frozen = {
        name: jax.tree.map(lambda x: jnp.asarray(x, frozen_dtype), tree)
        for name, tree in params.items()
        if name not in config.train.trainable
    }
    trainable = {name: params[name] for name in config.train.trainable}
    train_state = state.create(jax.tree.map(jnp.asarray, trainable), config.train)

    checkpoints = Checkpoints(workdir, config.train)
    train_state = checkpoints.restore(jax.eval_shape(lambda: train_state)) or train_state
    first_step = int(train_state.step)

    train_step = jax.jit(
        step.make_train_step(losses.make_loss(config), config.train, seed=config.seed),
        donate_argnums=0,
    )
    batches = loader.batches(
        config.data,
        config.skeleton,
        config.model,
        batch_size=config.train.batch_size,
        first_step=first_step,
        last_step=config.train.steps,
    )
    validate = validation.make_validation(config, workdir)
    with Reporter(workdir, config.train, first_step=first_step) as report:
        for batch in batches:
            train_state, metrics = train_step(train_state, frozen, batch)
            done = report.step(metrics)
            checkpoints.save(done, train_state)
            if done % config.train.validate_every == 0 and done < config.train.steps:
                report.validation(validate({**frozen, **train_state.averaged}, done))
        checkpoints.save(config.train.steps, train_state, force=True)
        params = {**frozen, **train_state.averaged}
        figures = validate(params, config.train.steps)
        report.validation(figures)
    checkpoints.close()
    directory = workdir / "weights"
    provenance = {"run": config.name, "steps": config.train.steps, "validation": figures}
    weights.save(
        directory,
        weights.WeightsConfig(
            model=config.model,
            schedule=config.schedule,
            skeleton=config.skeleton,
            sampling=config.sampling,
            provenance=provenance,
        ),
        params,
    )
    print(f"weights written to {directory}")
    return directory


def claim_workdir(config: RunConfig, workdir: Path) -> None:
    """Writes the config into a new work directory, or checks that an old one has the same.

    Raises:
      ConfigError: the saved config differs; the message names the fields.
    """
    path = workdir / "config.json"
    ours = json.loads(json.dumps(dataclasses.asdict(config)))
    if path.exists():
        differing = _differing_fields(json.loads(path.read_text()), ours)
        if differing:
            raise ConfigError(
                f"{workdir} holds a run with another config ({', '.join(differing)}); "
                "give another --workdir or the same settings"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(ours, indent=2) + "\n")


def _differing_fields(saved: Any, ours: Any, where: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(ours, dict):
        return [
            field
            for name in sorted(saved.keys() | ours.keys())
            for field in _differing_fields(
                saved.get(name), ours.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if saved == ours else [f"{where}: {saved} there, {ours} here"]
