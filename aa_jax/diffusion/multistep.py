"""Multistep samplers: DPM-Solver++(2M) (arXiv 2211.01095) and UniPC (arXiv 2302.04867, bh2).

Both integrate the same equation for the clean latents over λ = log(signal / noise), and reach with
10 steps what DDIM reaches with several times as many. A step of order two is linear in the latents,
their clean latents and those of the step before:

    next = p₀·latents + p₁·clean + p₂·clean_before

UniPC predicts so too, and when it then knows the clean latents there, it corrects where it went:

    latents ← c₀·latents_before + c₁·clean_before + c₂·clean_before_that + c₃·clean

All weights follow from the schedule and are computed in float64 beforehand (`plan`); what is left
for the device is these two lines. They equal diffusers' `DPMSolverMultistepScheduler`
(`dpmsolver++`, order 2, midpoint) and `UniPCMultistepScheduler` (bh2, order 2).
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import ddim, noise_schedule

Solver = Literal["dpm_solver", "unipc"]

TERMINAL_ALPHA = 2.0**-24
"""What a zero alphas_cumprod at the last timestep is replaced by, as in diffusers: λ is finite."""

FINAL_FIRST_ORDER = 15
"""DPM-Solver++ runs of fewer steps end with a step of order one, for stability, as in diffusers."""


class Plan(NamedTuple):
    """What every step needs; scanned over, or taken row by row.

    Attributes:
      timestep: what the network is told.
      signal: of the latents there.
      noise: of the latents there.
      predictor: weights of latents, clean latents, and those of the step before.
      corrector: weights of the same three in the corrected latents of the next step.
      correction: weight, in the corrected latents of this step, of its clean latents.
    """

    timestep: Int[np.ndarray, " steps"]
    signal: Float[np.ndarray, " steps"]
    noise: Float[np.ndarray, " steps"]
    predictor: Float[np.ndarray, "steps 3"]
    corrector: Float[np.ndarray, "steps 3"]
    correction: Float[np.ndarray, " steps"]


def timesteps(config: NoiseScheduleConfig, steps: int) -> Int[np.ndarray, " steps"]:
    """Training timesteps visited, from noise to picture.

    Unlike DDIM's they do not come to the clean end by themselves: `leading` and `linspace` spread
    steps + 1 points, of which the last is where the last step arrives.

    Raises:
      ConfigError: more steps than there are such timesteps.
    """
    count = config.num_train_timesteps
    if config.timestep_spacing == "trailing":
        return ddim.timesteps(config, steps)
    ddim.check_steps(config, steps)
    if steps == count:
        raise ConfigError(
            f"steps must be between 1 and {count - 1} with this sampler and "
            f"timestep_spacing={config.timestep_spacing!r}, got {steps}"
        )
    if config.timestep_spacing == "linspace":
        times = np.linspace(0, count - 1, steps + 1).round()[:0:-1]
    else:
        times = np.arange(steps, 0, -1) * (count // (steps + 1)) + config.steps_offset
    return ddim.check_start(config, times.astype(np.int32))


def plan(config: NoiseScheduleConfig, solver: Solver, steps: int) -> Plan:
    """The weights of every step.

    Raises:
      ConfigError: the number of steps is impossible.
    """
    times = timesteps(config, steps)
    alphas = noise_schedule.alphas_cumprod(config)
    alphas[-1] = max(alphas[-1], TERMINAL_ALPHA)
    end = 1.0 if config.set_alpha_to_one else alphas[0]
    # Levels 0..steps: where step i starts, and where the last one arrives.
    alpha = np.append(alphas[times], end)
    signal, noise = np.sqrt(alpha), np.sqrt(1.0 - alpha)
    with np.errstate(divide="ignore"):  # at a clean end λ is infinite
        lambdas = np.log(signal) - np.log(noise)
        step_sizes = np.diff(lambdas)
        ratios = np.append(np.inf, step_sizes[:-1] / step_sizes[1:])  # of the last step to this one

    predictor, corrector = np.zeros((steps, 3)), np.zeros((steps, 3))
    correction = np.zeros(steps)
    for i, (h, ratio) in enumerate(zip(step_sizes, ratios, strict=True)):
        kept = noise[i + 1] / noise[i]
        # signal·(1 - exp(-h)), the weight of the clean latents over a step of h in λ.
        gain = -signal[i + 1] * np.expm1(-h)
        first_order = i == steps - 1 and _ends_in_first_order(solver, config, steps)
        slope = 0.0 if first_order else 0.5 / ratio
        predictor[i] = kept, gain * (1.0 + slope), -gain * slope
        if solver == "unipc" and i < steps - 1:
            before, there = _corrector_weights(h, ratio)
            corrector[i] = kept, gain * (1.0 - before - there), gain * before
            correction[i + 1] = gain * there
    values = (signal[:-1], noise[:-1], predictor, corrector, correction)
    return Plan(times, *(np.float32(x) for x in values))


def _ends_in_first_order(solver: Solver, config: NoiseScheduleConfig, steps: int) -> bool:
    return solver == "unipc" or config.set_alpha_to_one or steps < FINAL_FIRST_ORDER


def _corrector_weights(h: float, ratio: float) -> tuple[float, float]:
    """Weights of (clean before the step - clean at its start) and (at its end - at its start).

    Those of UniC-2 with B(h) = exp(-h) - 1; where nothing came before, of UniC-1.
    """
    if np.isinf(ratio):
        return 0.0, 0.5
    b = np.expm1(-h)
    phi_1 = -b / h - 1.0
    phi_2 = -phi_1 / h - 0.5
    # Solves  x + y = phi_1 / b,  -ratio·x + y = 2·phi_2 / b.
    x = (phi_1 - 2.0 * phi_2) / b / (1.0 + ratio)
    return -x / ratio, phi_1 / b - x


def clean_latents(
    config: NoiseScheduleConfig,
    row: Plan,
    prediction: Float[Array, "b ..."],
    noisy: Float[Array, "b ..."],
) -> Float[Array, "b ..."]:
    """The clean latents that a prediction implies at a row of a plan, float32."""
    prediction = prediction.astype(jnp.float32)
    if config.prediction_type == "epsilon":
        return (noisy - row.noise * prediction) / row.signal
    if config.prediction_type == "sample":
        return prediction
    return row.signal * noisy - row.noise * prediction


def combine(weights: Float[Array, " n"], *terms: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """Σ weights[i]·terms[i]."""
    return sum((weights[i] * term for i, term in enumerate(terms[1:], 1)), weights[0] * terms[0])
