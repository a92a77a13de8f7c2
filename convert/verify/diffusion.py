"""Noise schedules and DDIM trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aa_jax.config import NoiseScheduleConfig
from aa_jax.diffusion import ddim, noise_schedule, objective
from convert.verify.cases import Case, CaseError

# The originals are multiplied up in float32, ours in float64: 1 - alphas_cumprod loses four digits.
TABLE = {"rtol": 2e-4, "atol": 1e-6}
BETAS = {"rtol": 1e-4, "atol": 1e-6}
SAMPLE = {"rtol": 1e-5, "atol": 1e-5}

# diffusers' defaults for what the schedulers' arguments leave out.
_DEFAULTS = {"set_alpha_to_one": True, "steps_offset": 0, "prediction_type": "epsilon"}
_OURS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
)
_WITHOUT_EFFECT = {"dynamic_thresholding_ratio", "clip_sample_range", "sample_max_value"}
_MUST_BE_OFF = {"clip_sample", "thresholding", "trained_betas"}


def schedule_of(arguments: Mapping[str, Any]) -> NoiseScheduleConfig:
    """Our schedule for the arguments of diffusers' `DDIMScheduler`.

    Raises:
      CaseError: an argument has no counterpart.
    """
    values = _DEFAULTS | dict(arguments)
    unknown = values.keys() - set(_OURS) - _WITHOUT_EFFECT - _MUST_BE_OFF
    on = {name for name in _MUST_BE_OFF if values.get(name)}
    if unknown or on:
        raise CaseError(f"scheduler: {', '.join(sorted(unknown | on))} has no counterpart here")
    return NoiseScheduleConfig(**{name: values[name] for name in _OURS if name in values})


def verify(case: Case) -> None:
    """Compares tables, forward process and trajectories of every scheduler of the case."""
    if case.meta.get("eta", 0.0) != 0:
        raise CaseError("meta.json: eta must be 0; fresh noise cannot be repeated")
    schedules = {
        name: schedule_of(entry["kwargs"]) for name, entry in case.field("schedulers").items()
    }
    for name, schedule in schedules.items():
        with case.attempt(name):
            _verify_tables(case, name, schedule)
            _verify_forward(case, name, schedule)
    for key in case.arrays("trajectories.npz"):
        if key.endswith("/init"):
            with case.attempt(key):
                name, steps = key.removesuffix("/init").rsplit("_", 1)
                _verify_trajectory(case, schedules[name], key.removesuffix("/init"), int(steps))


def _verify_tables(case: Case, name: str, schedule: NoiseScheduleConfig) -> None:
    tables = noise_schedule.tables(schedule)
    case.compare("tables.npz", f"{name}/betas", tables.betas, **BETAS)
    case.compare("tables.npz", f"{name}/alphas_cumprod", tables.alphas_cumprod, **TABLE)
    expected = case.read("tables.npz", f"{name}/alphas_cumprod")[-1:]
    if schedule.rescale_betas_zero_snr:
        last = f"tables.npz:{name}/alphas_cumprod[-1]"
        case.ledger.compare(last, tables.alphas_cumprod[-1:], expected)


def _verify_forward(case: Case, name: str, schedule: NoiseScheduleConfig) -> None:
    file, gamma = "forward.npz", case.field("snr_gamma")
    times = case.read(file, "timesteps").astype(np.int32)
    clean, noise = case.read(file, "x0"), case.read(file, "noise")
    noisy = noise_schedule.add_noise(schedule, clean, noise, times)
    velocity = noise_schedule.velocity(schedule, clean, noise, times)
    weights = objective.min_snr_weights(schedule, times, gamma)
    case.compare(file, f"{name}/add_noise", noisy, **SAMPLE)
    case.compare(file, f"{name}/get_velocity", velocity, **SAMPLE)
    case.compare(file, f"{name}/snr", noise_schedule.snr(schedule, times), **TABLE)
    case.compare(file, f"{name}/min_snr_weights_gamma{gamma:g}", weights, **TABLE)


def _verify_trajectory(case: Case, schedule: NoiseScheduleConfig, name: str, steps: int) -> None:
    file = "trajectories.npz"
    times, previous = (f(schedule, steps) for f in (ddim.timesteps, ddim.previous_timesteps))
    case.compare(file, f"{name}/timesteps", times)
    case.compare(file, f"{name}/prev_timesteps", previous)
    latents, predictions = case.read(file, f"{name}/init"), case.read(file, f"{name}/model_outputs")
    samples, cleans = [], []
    for prediction, now, then in zip(predictions, times, previous, strict=True):
        latents, clean = ddim.ddim_step(schedule, prediction, latents, now, then)
        samples.append(latents)
        cleans.append(clean)
    case.compare(file, f"{name}/latents", np.stack(samples), **SAMPLE)
    case.compare(file, f"{name}/pred_original", np.stack(cleans), **SAMPLE)
