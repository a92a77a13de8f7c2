"""DPM-Solver++(2M) and UniPC agree with torch diffusers; all samplers go the same way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import ddim, multistep, noise_schedule, samplers
from aa_jax.diffusion.samplers import Sampler

SOLVERS = ("dpm_solver", "unipc")
SHAPE = (2, 3, 4, 4, 4)
TRAILING = NoiseScheduleConfig(
    prediction_type="v_prediction", timestep_spacing="trailing", set_alpha_to_one=True
)


def torch_scheduler(name, config, steps):
    """diffusers' scheduler with its noise levels in float64.

    Its float32 tables lose four digits of 1 - alphas_cumprod near the clean end, and differences of
    λ lose more.
    """
    common = dataclasses.asdict(config)
    common["final_sigmas_type"] = "zero" if common.pop("set_alpha_to_one") else "sigma_min"
    if name == "dpm_solver":
        scheduler = DPMSolverMultistepScheduler(solver_type="midpoint", **common)
    else:
        scheduler = UniPCMultistepScheduler(solver_type="bh2", **common)
    scheduler.set_timesteps(steps)
    power = 0.5 if config.beta_schedule == "scaled_linear" else 1
    ends = config.beta_start**power, config.beta_end**power
    betas = torch.linspace(*ends, config.num_train_timesteps, dtype=torch.float64) ** (1 / power)
    if config.rescale_betas_zero_snr:
        betas = rescale_zero_terminal_snr(betas)
    alphas = torch.cumprod(1 - betas, dim=0)
    if config.rescale_betas_zero_snr:
        alphas[-1] = 2**-24
    sigmas = ((1 - alphas) / alphas) ** 0.5
    last = torch.zeros(1) if config.set_alpha_to_one else sigmas[:1]
    scheduler.sigmas = torch.cat([sigmas[scheduler.timesteps], last])
    return scheduler


def trajectory(name, config, steps, initial, predictions):
    """Latents after every step of one scan over given predictions."""
    sampler = Sampler(name, config)

    def body(state, inputs):
        row, prediction = inputs
        state = sampler.advance(state, prediction, row)
        return state, state.latents

    inputs = sampler.plan(steps), predictions
    return jax.jit(lambda x: jax.lax.scan(body, sampler.start(x), inputs)[1])(initial)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("alpha_to_one", [True, False])
@pytest.mark.parametrize("name", SOLVERS)
def test_trajectory_agrees_with_torch(name, spacing, prediction, alpha_to_one):
    for schedule, steps in (("linear", 8), ("scaled_linear", 20), ("linear", 1)):
        config = NoiseScheduleConfig(
            beta_schedule=schedule,
            prediction_type=prediction,
            rescale_betas_zero_snr=prediction != "epsilon" and schedule == "linear",
            timestep_spacing=spacing,
            set_alpha_to_one=alpha_to_one,
        )
        rng = np.random.default_rng(0)
        initial = rng.standard_normal(SHAPE).astype(np.float32)
        predictions = rng.standard_normal((steps, *SHAPE)).astype(np.float32)

        latents = trajectory(name, config, steps, initial, predictions)

        scheduler = torch_scheduler(name, config, steps)
        np.testing.assert_array_equal(multistep.timesteps(config, steps), scheduler.timesteps)
        expected = torch.from_numpy(initial).double()
        for i, time in enumerate(scheduler.timesteps):
            output = torch.from_numpy(predictions[i]).double()
            expected = scheduler.step(output, time, expected).prev_sample
            # epsilon prediction divides by a signal of 0.07
            scale = max(1.0, float(expected.abs().max()))
            np.testing.assert_allclose(latents[i], expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", samplers.NAMES)
def test_a_perfect_network_finds_the_clean_latents(name):
    # given noisy latents of which everything is known
    config = dataclasses.replace(TRAILING, rescale_betas_zero_snr=True)
    clean, noise = np.random.default_rng(0).standard_normal((2, 1, 4)).astype(np.float32)
    sampler = Sampler(name, config)
    state = sampler.start(jnp.asarray(noise))

    # when every prediction is right
    for row in samplers.rows(sampler.plan(10)):
        prediction = noise_schedule.prediction_of(config, clean, noise, row.timestep)
        state = sampler.advance(state, prediction, row)

    # then the noise is gone; the solvers begin at a signal of 2^-12 where there is none
    np.testing.assert_allclose(state.latents, clean, atol=1e-6 if name == "ddim" else 2.0**-12)


def test_the_number_of_steps_is_no_part_of_the_compiled_step():
    for name in samplers.NAMES:
        sampler = Sampler(name, TRAILING)
        advance = jax.jit(sampler.advance)
        for steps in (4, 9):
            state = sampler.start(jnp.ones(SHAPE))
            for row in samplers.rows(sampler.plan(steps)):
                state = advance(state, 0.5 * state.latents, row)
        assert advance._cache_size() == 1


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_impossible_step_counts_are_refused(name, spacing):
    config = NoiseScheduleConfig(timestep_spacing=spacing, steps_offset=0)
    with pytest.raises(ConfigError, match="between 1 and 1000, got 0"):
        multistep.plan(config, name, 0)
    with pytest.raises(ConfigError, match=f"between 1 and 999 .*{spacing}.*, got 1000"):
        multistep.plan(config, name, 1000)
    assert np.all(np.isfinite(multistep.plan(config, name, 999).predictor))


def test_starting_beyond_the_last_timestep_is_refused():
    with pytest.raises(ConfigError, match="start at timestep 1000, but the last is 999"):
        multistep.timesteps(NoiseScheduleConfig(), 999)


def test_every_step_count_has_finite_weights():
    for spacing in ("leading", "trailing", "linspace"):
        config = dataclasses.replace(TRAILING, timestep_spacing=spacing, steps_offset=0)
        for steps in (1, 2, 3, 14, 15, 333, 999):
            for alpha_to_one in (True, False):
                config = dataclasses.replace(config, set_alpha_to_one=alpha_to_one)
                plan = multistep.plan(config, "unipc", steps)
                assert all(np.isfinite(x).all() for x in plan)
                assert (plan.timestep[:-1] > plan.timestep[1:]).all()


def test_samplers_without_fresh_noise_refuse_eta():
    with pytest.raises(ConfigError, match="sampler unipc takes no fresh noise; set eta=0"):
        Sampler("unipc", TRAILING, eta=0.5)
    with pytest.raises(ConfigError, match="sampler must be one of ddim, dpm_solver, unipc"):
        Sampler("euler", TRAILING)


def test_ddim_is_ddim():
    config, rng = NoiseScheduleConfig(), np.random.default_rng(0)
    latents, prediction, noise = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    sampler = Sampler("ddim", config, eta=0.3)
    row = next(samplers.rows(sampler.plan(20)))

    state = sampler.advance(sampler.start(latents), prediction, row, noise)

    now, then = ddim.timesteps(config, 20)[0], ddim.previous_timesteps(config, 20)[0]
    expected, _ = ddim.ddim_step(config, prediction, latents, now, then, eta=0.3, noise=noise)
    np.testing.assert_array_equal(state.latents, expected)
