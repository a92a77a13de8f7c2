"""DDIM trajectories agree with torch diffusers, today's and the version Moore pins."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import ddim, multistep, noise_schedule

GOLDEN = Path(__file__).parent / "golden" / "ddim"
MOORE_V2 = NoiseScheduleConfig(
    beta_schedule="linear",
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    set_alpha_to_one=True,
)
MOORE_V1 = NoiseScheduleConfig(beta_schedule="linear", set_alpha_to_one=True)
SHAPE = (2, 3, 4, 4, 4)


def sample_with_given_predictions(config, steps, initial, predictions, eta=0.0, noises=None):
    """Runs a whole trajectory in one scan; returns the latents after every step."""
    noises = np.zeros_like(predictions) if noises is None else noises

    def body(latents, inputs):
        now, then, prediction, noise = inputs
        latents, clean = ddim.ddim_step(
            config, prediction, latents, now, then, eta=eta, noise=noise
        )
        return latents, (latents, clean)

    times, previous = ddim.timesteps(config, steps), ddim.previous_timesteps(config, steps)
    inputs = (times, previous, predictions, noises)
    return jax.jit(lambda i, x: jax.lax.scan(body, i, x)[1])(initial, inputs)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha_to_one", [True, False])
def test_trajectory_agrees_with_torch(spacing, prediction, eta, alpha_to_one):
    for schedule, steps in (("linear", 20), ("scaled_linear", 30)):
        zero_snr = prediction != "epsilon" and schedule == "linear"
        config = NoiseScheduleConfig(
            beta_schedule=schedule,
            prediction_type=prediction,
            rescale_betas_zero_snr=zero_snr,
            timestep_spacing=spacing,
            set_alpha_to_one=alpha_to_one,
        )
        rng = np.random.default_rng(0)
        initial = rng.standard_normal(SHAPE).astype(np.float32)
        predictions, noises = rng.standard_normal((2, steps, *SHAPE)).astype(np.float32)

        latents, cleans = sample_with_given_predictions(
            config, steps, initial, predictions, eta, noises
        )

        scheduler = torch_scheduler(config)
        scheduler.set_timesteps(steps)
        np.testing.assert_array_equal(ddim.timesteps(config, steps), scheduler.timesteps)
        expected = torch.from_numpy(initial).double()
        for i, time in enumerate(scheduler.timesteps):
            step = scheduler.step(
                torch.from_numpy(predictions[i]).double(),
                int(time),
                expected,
                eta=eta,
                variance_noise=torch.from_numpy(noises[i]).double() if eta > 0 else None,
            )
            expected = step.prev_sample
            assert_close_to_scale(latents[i], expected)
            assert_close_to_scale(cleans[i], step.pred_original_sample)


def torch_scheduler(config):
    """diffusers' scheduler with tables in float64.

    Its own float32 tables are worse than ours: `1 - alphas_cumprod - std**2` is a difference of
    nearly equal numbers at eta 1, and off by 4e-4 after its square root.
    """
    scheduler = DDIMScheduler(clip_sample=False, **dataclasses.asdict(config))
    power = 0.5 if config.beta_schedule == "scaled_linear" else 1
    ends = config.beta_start**power, config.beta_end**power
    betas = torch.linspace(*ends, config.num_train_timesteps, dtype=torch.float64) ** (1 / power)
    if config.rescale_betas_zero_snr:
        betas = rescale_zero_terminal_snr(betas)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    if not config.set_alpha_to_one:
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def assert_close_to_scale(actual, desired):
    """1e-5 of the largest value: epsilon prediction divides by a signal of 0.07."""
    scale = max(1.0, float(desired.abs().max()))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("steps", [10, 20, 25, 30])
@pytest.mark.parametrize(("name", "config"), [("v2", MOORE_V2), ("v1", MOORE_V1)])
def test_trajectory_agrees_with_golden(name, config, steps):
    with np.load(GOLDEN / "trajectories.npz") as arrays:
        case = {k.split("/")[1]: arrays[k] for k in arrays if k.startswith(f"{name}_{steps}/")}
    np.testing.assert_array_equal(ddim.timesteps(config, steps), case["timesteps"])
    np.testing.assert_array_equal(ddim.previous_timesteps(config, steps), case["prev_timesteps"])

    latents, cleans = sample_with_given_predictions(
        config, steps, case["init"], case["model_outputs"]
    )

    # 1e-5: the golden run's tables are float32 throughout
    np.testing.assert_allclose(latents, case["latents"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cleans, case["pred_original"], rtol=1e-5, atol=1e-5)


def test_a_perfect_network_finds_the_clean_latents():
    # given noisy latents of which everything is known
    config = dataclasses.replace(MOORE_V2, prediction_type="sample")
    clean, noise = np.random.default_rng(0).standard_normal((2, 1, 4)).astype(np.float32)
    latents = noise

    # when every prediction is right
    for now, then in zip(
        ddim.timesteps(config, 20), ddim.previous_timesteps(config, 20), strict=True
    ):
        prediction = noise_schedule.prediction_of(config, clean, noise, now)
        latents, _ = ddim.ddim_step(config, prediction, latents, now, then)

    # then the noise is gone
    np.testing.assert_allclose(latents, clean, atol=1e-6)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(ConfigError, match=f"steps must be between 1 and 1000, got {steps}"):
        ddim.timesteps(NoiseScheduleConfig(), steps)


def test_starting_beyond_the_last_timestep_is_refused():
    with pytest.raises(ConfigError, match="start at timestep 1000, but the last is 999"):
        ddim.timesteps(NoiseScheduleConfig(), 1000)


def test_every_step_count_has_its_number_of_timesteps():
    for spacing in ("leading", "trailing", "linspace"):
        config = NoiseScheduleConfig(timestep_spacing=spacing)
        for steps in range(1, 1000):
            times = ddim.timesteps(config, steps)
            assert len(times) == steps
            assert np.all(np.diff(times) < 0)
            assert times[0] <= 999
            assert times[-1] >= 0


def test_fresh_noise_must_be_given():
    zeros = jnp.zeros((1, 4))
    with pytest.raises(ValueError, match="needs noise"):
        ddim.ddim_step(MOORE_V2, zeros, zeros, jnp.int32(999), jnp.int32(949), eta=0.5)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_every_number_of_steps_has_as_many_timesteps(spacing):
    """diffusers 0.39 counts `trailing` by floats: N + 1 timesteps, the last -1, for 61, 103, ..."""
    config = NoiseScheduleConfig(timestep_spacing=spacing, steps_offset=0)
    counted = [(steps, ddim.timesteps(config, steps)) for steps in range(1, 1001)]
    counted += [(steps, multistep.timesteps(config, steps)) for steps in range(1, 1000)]
    for steps, times in counted:
        assert times.shape == (steps,)
        assert (np.diff(times) < 0).all(), steps
        assert times.min() >= 0, steps
        assert times.max() <= 999, steps
