"""DDIM sampling (arXiv 2010.02502) as pure functions.

    for now, then in zip(timesteps(config, n), previous_timesteps(config, n)):
        latents, _ = ddim_step(config, predict(latents, now), latents, now, then)

The same step runs inside `jax.lax.scan` over the two arrays.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import noise_schedule


def timesteps(config: NoiseScheduleConfig, steps: int) -> Int[np.ndarray, " steps"]:
    """Training timesteps visited by `steps` sampling steps, from noise to picture.

    Spacings are those of table 2 in arXiv 2305.08891.
    """
    check_steps(config, steps)
    count = config.num_train_timesteps
    if config.timestep_spacing == "linspace":
        times = np.linspace(0, count - 1, steps).round()[::-1]
    elif config.timestep_spacing == "leading":
        times = np.arange(steps)[::-1] * (count // steps) + config.steps_offset
    else:
        times = np.round(count - np.arange(steps) * (count / steps)) - 1
    return check_start(config, times.astype(np.int32))


def check_steps(config: NoiseScheduleConfig, steps: int) -> None:
    """Raises `ConfigError` unless there may be a sampling step per training timestep."""
    count = config.num_train_timesteps
    if not 1 <= steps <= count:
        raise ConfigError(f"steps must be between 1 and {count}, got {steps}")


def check_start(
    config: NoiseScheduleConfig, times: Int[np.ndarray, " steps"]
) -> Int[np.ndarray, " steps"]:
    """The timesteps; raises `ConfigError` if `steps_offset` put the first beyond the last there is.

    Such a first step would read no noise level of the schedule.
    """
    last = config.num_train_timesteps - 1
    if times[0] > last:
        raise ConfigError(
            f"{len(times)} steps with steps_offset={config.steps_offset} would start at timestep "
            f"{int(times[0])}, but the last is {last}; use fewer steps"
        )
    return times


def previous_timesteps(config: NoiseScheduleConfig, steps: int) -> Int[np.ndarray, " steps"]:
    """The less noisy timestep each step arrives at; below zero it is the clean end.

    A fixed distance, not the next entry of `timesteps`: the two differ where the number of steps
    does not divide the number of training timesteps, and published samplers do it this way.
    """
    return timesteps(config, steps) - np.int32(config.num_train_timesteps // steps)


def ddim_step(
    config: NoiseScheduleConfig,
    prediction: Float[Array, "b ..."],
    noisy: Float[Array, "b ..."],
    timestep: Int[Array, ""],
    previous: Int[Array, ""],
    *,
    eta: float = 0.0,
    noise: Float[Array, "b ..."] | None = None,
) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
    """One step from `timestep` to `previous`.

    Args:
      config: the schedule.
      prediction: network output at `timestep`, of `config.prediction_type`.
      noisy: latents at `timestep`.
      timestep: scalar from `timesteps`.
      previous: scalar from `previous_timesteps`.
      eta: 0..1; 0 is deterministic DDIM, 1 draws as much fresh noise as DDPM.
      noise: fresh standard normal noise; needed if eta is not zero.

    Returns:
      Latents at `previous`, and the clean latents implied by the prediction, both float32.
    """
    clean, direction = noise_schedule.clean_and_noise(config, prediction, noisy, timestep)
    signal, sigma = _row(config, timestep, noisy.ndim)
    previous_signal, previous_sigma = _row(config, previous, noisy.ndim)
    if eta == 0:
        return previous_signal * clean + previous_sigma * direction, clean
    if noise is None:
        raise ValueError("ddim_step with eta > 0 needs noise")
    ratio = signal / previous_signal
    fresh = eta * (previous_sigma / sigma) * jnp.sqrt(1.0 - ratio**2)
    # kept² = previous_sigma² - fresh², written as a sum: the difference cancels at eta 1.
    posterior = previous_sigma**2 * ratio / sigma
    kept = jnp.sqrt((1.0 - eta**2) * previous_sigma**2 + eta**2 * posterior**2)
    latents = previous_signal * clean + kept * direction + fresh * noise.astype(jnp.float32)
    return latents, clean


def _row(config, timestep, ndim):
    """Signal and noise strength at a timestep; below zero, those of the clean end."""
    table = noise_schedule.tables(config)
    end = (1.0, 0.0) if config.set_alpha_to_one else (table.signal[0], table.noise[0])
    inside = jnp.maximum(timestep, 0)
    return tuple(
        jnp.where(timestep < 0, jnp.float32(last), noise_schedule.lookup(column, inside, ndim))
        for column, last in zip((table.signal, table.noise), end, strict=True)
    )
