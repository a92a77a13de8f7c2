"""The training objective: mean squared error of the prediction, weighted by timestep."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aa_jax.config import NoiseScheduleConfig
from aa_jax.diffusion import noise_schedule


def min_snr_weights(
    config: NoiseScheduleConfig,
    timesteps: Int[Array, " b"],
    gamma: float,
    velocity_form: Literal["shifted", "paper"] = "shifted",
) -> Float[Array, " b"]:
    """Min-SNR loss weights [b] (arXiv 2303.09556), with which all timesteps pull about equally.

    Args:
      config: the schedule; its prediction type decides what the SNR is divided by.
      timesteps: [b].
      gamma: where the SNR is cut off, 5 in the paper.
      velocity_form: weights of velocity prediction, `shifted`: min(snr + 1, gamma) / (snr + 1),
        as Moore-AnimateAnyone trains, which does not vanish at zero terminal SNR; `paper`:
        min(snr, gamma) / (snr + 1).
    """
    snr = noise_schedule.snr(config, timesteps)
    if config.prediction_type == "epsilon":
        return jnp.minimum(snr, gamma) / snr
    if config.prediction_type == "sample":
        return jnp.minimum(snr, gamma)
    if velocity_form == "shifted":
        return jnp.minimum(snr + 1.0, gamma) / (snr + 1.0)
    return jnp.minimum(snr, gamma) / (snr + 1.0)


def diffusion_loss(
    config: NoiseScheduleConfig,
    prediction: Float[Array, "b ..."],
    clean: Float[Array, "b ..."],
    noise: Float[Array, "b ..."],
    timesteps: Int[Array, " b"],
    *,
    snr_gamma: float = 0.0,
    velocity_form: Literal["shifted", "paper"] = "shifted",
) -> Float[Array, " b"]:
    """Loss of every sample in float32; the loss of a batch is their mean.

    Args:
      config: the schedule.
      prediction: network output for `add_noise(config, clean, noise, timesteps)`.
      clean: latents.
      noise: the standard normal noise that was added.
      timesteps: [b].
      snr_gamma: see `min_snr_weights`; 0 weighs all timesteps alike.
      velocity_form: see `min_snr_weights`.
    """
    target = noise_schedule.prediction_of(config, clean, noise, timesteps)
    squared = (prediction.astype(jnp.float32) - target) ** 2
    losses = squared.reshape(squared.shape[0], -1).mean(axis=1)
    if snr_gamma > 0:
        losses = losses * min_snr_weights(config, timesteps, snr_gamma, velocity_form)
    return losses
