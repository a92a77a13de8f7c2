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
    cumprod = alphas_cumprod(config)
    rows = Tables(
        betas=_betas(config),
        alphas_cumprod=cumprod,
        signal=np.sqrt(cumprod),
        noise=np.sqrt(1.0 - cumprod),
        snr=cumprod / (1.0 - cumprod),
    )
    return Tables(*(row.astype(np.float32) for row in rows))


def alphas_cumprod(config: NoiseScheduleConfig) -> Float[np.ndarray, " timesteps"]:
    """The table of that name in float64, for those who compute further with it."""
    return np.cumprod(1.0 - _betas(config))


def _betas(config: NoiseScheduleConfig) -> np.ndarray:
    first, last, count = config.beta_start, config.beta_end, config.num_train_timesteps
    if config.beta_schedule == "scaled_linear":
        betas = np.linspace(first**0.5, last**0.5, count) ** 2
    else:
        betas = np.linspace(first, last, count)
    return _zero_terminal_snr(betas) if config.rescale_betas_zero_snr else betas


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
