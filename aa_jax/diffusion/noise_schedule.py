"""The forward process: how much signal and noise a latent holds at each training timestep.

At timestep `i` a noisy latent is `signal[i] * clean + noise[i] * gaussian`, with
`signal² = alphas_cumprod` and `noise² = 1 - alphas_cumprod`. Everything here is a pure function
of a `NoiseScheduleConfig`; timesteps are integers, `[b]` or a scalar, traced or not.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aa_jax.config import NoiseScheduleConfig


class Tables(NamedTuple):
    """One float32 value per training timestep.

    Computed in float64: `1 - alphas_cumprod` in float32 would lose four digits at small timesteps.
    """

    betas: np.ndarray
    alphas_cumprod: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    snr: np.ndarray


@functools.cache
def tables(config: NoiseScheduleConfig) -> Tables:
    """The tables of a schedule, [num_train_timesteps] each."""
    betas = _betas(config)
    if config.rescale_betas_zero_snr:
        betas = _zero_terminal_snr(betas)
    alphas_cumprod = np.cumprod(1.0 - betas)
    rows = Tables(
        betas=betas,
        alphas_cumprod=alphas_cumprod,
        signal=np.sqrt(alphas_cumprod),
        noise=np.sqrt(1.0 - alphas_cumprod),
        snr=alphas_cumprod / (1.0 - alphas_cumprod),
    )
    return Tables(*(row.astype(np.float32) for row in rows))


def _betas(config: NoiseScheduleConfig) -> np.ndarray:
    first, last, count = config.beta_start, config.beta_end, config.num_train_timesteps
    if config.beta_schedule == "scaled_linear":
        return np.linspace(first**0.5, last**0.5, count) ** 2
    return np.linspace(first, last, count)


def _zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Shifts and scales the signal table so that it ends in exactly zero.

    Algorithm 1 of "Common Diffusion Noise Schedules and Sample Steps are Flawed"
    (arXiv 2305.08891); the first entry stays what it was.
    """
    signal = np.sqrt(np.cumprod(1.0 - betas))
    signal = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
    alphas_cumprod = signal**2
    alphas = alphas_cumprod[1:] / alphas_cumprod[:-1]
    return 1.0 - np.concatenate([alphas_cumprod[:1], alphas])


def lookup(table: np.ndarray, timesteps: Int[Array, "..."], ndim: int) -> Float[Array, "..."]:
    """Rows of a table with axes of size one appended up to `ndim`, ready to broadcast."""
    rows = jnp.asarray(table)[timesteps]
    return rows.reshape(rows.shape + (1,) * (ndim - rows.ndim))


def add_noise(
    config: NoiseScheduleConfig,
    clean: Float[Array, "b ..."],
    noise: Float[Array, "b ..."],
    timesteps: Int[Array, " b"],
) -> Float[Array, "b ..."]:
    """Noisy float32 latents at `timesteps`."""
    signal, sigma = _signal_and_noise(config, timesteps, clean.ndim)
    return signal * _float32(clean) + sigma * _float32(noise)


def velocity(
    config: NoiseScheduleConfig,
    clean: Float[Array, "b ..."],
    noise: Float[Array, "b ..."],
    timesteps: Int[Array, " b"],
) -> Float[Array, "b ..."]:
    """What a `v_prediction` network predicts (arXiv 2202.00512): signal·noise - sigma·clean."""
    signal, sigma = _signal_and_noise(config, timesteps, clean.ndim)
    return signal * _float32(noise) - sigma * _float32(clean)


def clean_and_noise(
    config: NoiseScheduleConfig,
    prediction: Float[Array, "b ..."],
    noisy: Float[Array, "b ..."],
    timesteps: Int[Array, " b"],
) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
    """Clean latents and noise that a network's prediction implies, whatever it predicts."""
    signal, sigma = _signal_and_noise(config, timesteps, noisy.ndim)
    prediction, noisy = _float32(prediction), _float32(noisy)
    if config.prediction_type == "epsilon":
        return (noisy - sigma * prediction) / signal, prediction
    if config.prediction_type == "sample":
        return prediction, (noisy - signal * prediction) / sigma
    return signal * noisy - sigma * prediction, signal * prediction + sigma * noisy


def prediction_of(
    config: NoiseScheduleConfig,
    clean: Float[Array, "b ..."],
    noise: Float[Array, "b ..."],
    timesteps: Int[Array, " b"],
) -> Float[Array, "b ..."]:
    """What a perfect network predicts: inverse of `clean_and_noise`, target of training."""
    if config.prediction_type == "epsilon":
        return _float32(noise)
    if config.prediction_type == "sample":
        return _float32(clean)
    return velocity(config, clean, noise, timesteps)


def snr(config: NoiseScheduleConfig, timesteps: Int[Array, "..."]) -> Float[Array, "..."]:
    """Signal-to-noise ratio alphas_cumprod / (1 - alphas_cumprod)."""
    return lookup(tables(config).snr, timesteps, jnp.ndim(timesteps))


def _signal_and_noise(config, timesteps, ndim):
    table = tables(config)
    return lookup(table.signal, timesteps, ndim), lookup(table.noise, timesteps, ndim)


def _float32(array):
    return jnp.asarray(array).astype(jnp.float32)
