"""A training run, read top to bottom: data, state, step, loop, weights directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aa_jax import config as config_lib
from aa_jax import weights
from aa_jax.config import ConfigError, RunConfig
from aa_jax.data import loader
from aa_jax.training import losses, state, step, validation
from aa_jax.training.checkpoints import Checkpoints
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
            step_number = report.step(metrics)
            checkpoints.save(step_number, train_state)
            if step_number % config.train.validate_every == 0 or step_number == config.train.steps:
                report.validation(validate({**frozen, **train_state.averaged}, step_number))
    checkpoints.save(config.train.steps, train_state, force=True)
    checkpoints.close()
    directory = workdir / "weights"
    weights.save(
        directory,
        weights.WeightsConfig(
            model=config.model,
            schedule=config.schedule,
            skeleton=config.skeleton,
            sampling=config.sampling,
            provenance={"config": config.name, "steps": config.train.steps},
        ),
        {**frozen, **train_state.averaged},
    )
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
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(ours, indent=2) + "\n")
    temporary.rename(path)


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


def networks_of(config: RunConfig) -> tuple[str, ...]:
    """The networks a run needs: the VAE alone, or the whole model without absent parts."""
    if config.train.task == "autoencoder":
        return ("vae",)
    present = weights.abstract_params(config.model)
    return tuple(name for name in config_lib.NETWORKS if name in present)


def initial_params(config: RunConfig) -> dict[str, Any]:
    """Parameters before the first step: `config.init`'s, and random ones for the other networks.

    Raises:
      ConfigError: a trainable network is not part of the model.
      WeightsError: the weights directory cannot be used.
    """
    names = networks_of(config)
    for name in config.train.trainable:
        if name not in names:
            raise ConfigError(
                f"train.trainable: {name} is no part of this model; it has {', '.join(names)}"
            )
    loaded: dict[str, Any] = {}
    if config.init.weights:
        wanted = [name for name in config.init.networks or names if name in names]
        _, loaded = weights.load(config.init.weights, model=config.model, networks=wanted)
    missing = [name for name in names if name not in loaded]
    key = step.example_keys(config.seed, "init", jnp.int32(0), jnp.zeros(1, jnp.uint32))[0]
    return loaded | (weights.init_params(key, config.model, missing) if missing else {})
