"""The training objective: the prediction's squared error, and optionally that of its changes."""

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
    prediction: Float[Array, "b t ..."],
    clean: Float[Array, "b t ..."],
    noise: Float[Array, "b t ..."],
    timesteps: Int[Array, " b"],
    *,
    snr_gamma: float = 0.0,
    velocity_form: Literal["shifted", "paper"] = "shifted",
    temporal_weight: float = 0.0,
) -> Float[Array, " b"]:
    """Loss of every sample in float32; the loss of a batch is their mean.

    The squared error of a frame says little of flicker: what every frame of a clip gets wrong alike
    outweighs what changes from one to the next. `temporal_weight` adds the mean absolute error of
    the frame-to-frame changes, of which the common part drops out; the paper has no such term.

    Args:
      config: the schedule.
      prediction: network output for `add_noise(config, clean, noise, timesteps)`.
      clean: latents.
      noise: the standard normal noise that was added.
      timesteps: [b].
      snr_gamma: see `min_snr_weights`; 0 weighs all timesteps alike.
      velocity_form: see `min_snr_weights`.
      temporal_weight: of the changes between neighbouring frames, if there are several.
    """
    target = noise_schedule.prediction_of(config, clean, noise, timesteps)
    error = prediction.astype(jnp.float32) - target
    losses = _mean_per_sample(error**2)
    if temporal_weight > 0 and error.shape[1] > 1:
        losses += temporal_weight * _mean_per_sample(jnp.abs(jnp.diff(error, axis=1)))
    if snr_gamma > 0:
        losses = losses * min_snr_weights(config, timesteps, snr_gamma, velocity_form)
    return losses


def _mean_per_sample(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    return x.reshape(x.shape[0], -1).mean(axis=1)
