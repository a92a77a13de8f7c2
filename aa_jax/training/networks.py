"""Which networks a run needs, which of them learn, and what they start from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp

from aa_jax import weights
from aa_jax.config import ALL_NETWORKS, ConfigError, RunConfig
from aa_jax.models import controlnet, ip_adapter
from aa_jax.training import distributed, step


def networks_of(config: RunConfig) -> tuple[str, ...]:
    """The networks a run needs: the VAE alone, or the whole model without absent parts."""
    if config.train.task == "autoencoder":
        return ("vae",)
    return config.model.networks


def check_trainable(config: RunConfig) -> None:
    """Raises `ConfigError` where a trainable network is no part of the run's model."""
    names = networks_of(config)
    for name in config.train.trainable:
        if name not in names:
            raise ConfigError(
                f"train.trainable: {name} is no part of this run, which has {', '.join(names)}"
            )


def initial_params(config: RunConfig, only: Collection[str] = ALL_NETWORKS) -> dict[str, Any]:
    """Parameters before the first step: `config.init`'s, and random ones for the other networks.

    A ControlNet that is not there starts as a copy of the denoising UNet that is, an IP-Adapter
    with the keys and values of its prompt.

    Args:
      only: leave out the networks not named here; those named come to the same numbers.

    Raises:
      ConfigError: a trainable network is no part of the run's model.
      WeightsError: the weights directory cannot be used.
    """
    check_trainable(config)
    names = [name for name in networks_of(config) if name in only]
    loaded: dict[str, Any] = {}
    if config.init.weights:
        offered = config.init.networks or weights.networks(config.init.weights)
        wanted = [name for name in names if name in offered]
        _, loaded = weights.load(config.init.weights, model=config.model, networks=wanted)
    missing = [name for name in names if name not in loaded]
    if config.init.weights:
        _check_frozen(config, missing)
        distributed.say(f"{config.init.weights} gives {', '.join(loaded)}")
    if not missing:
        return loaded
    distributed.say(f"{', '.join(missing)}: from random numbers")
    key = step.example_keys(config.seed, "init", jnp.int32(0), jnp.zeros(1, jnp.uint32))[0]
    made = weights.init_params(key, config.model, missing)
    if "denoising_unet" in loaded:
        for name, (copy, what) in _STARTS.items():
            if name in made:
                distributed.say(f"{name} starts as a copy of the denoising UNet's {what}")
                made[name] = copy(made[name], loaded["denoising_unet"])
    return loaded | made


_STARTS = {
    "controlnet": (controlnet.with_encoder_of, "way down"),
    "pose_controlnet": (controlnet.with_encoder_of, "way down"),
    "ip_adapter": (ip_adapter.with_projections_of, "projections of the prompt"),
}
"""What networks copy of a denoising UNet, where one is given and they are not."""


def _check_frozen(config: RunConfig, missing: list[str]) -> None:
    """Raises `ConfigError` for networks that would stay the random numbers they start from."""
    if frozen := [name for name in missing if name not in config.train.trainable]:
        raise ConfigError(
            f"init.weights: {config.init.weights} gives no {', '.join(frozen)}, which this run "
            "neither trains; add what is missing (python -m convert --help)"
        )
