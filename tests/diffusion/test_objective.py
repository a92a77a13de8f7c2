"""Loss weights agree with Moore-AnimateAnyone's training script; the loss is what it says."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aa_jax.config import NoiseScheduleConfig
from aa_jax.diffusion import noise_schedule, objective

GOLDEN = Path(__file__).parent / "golden" / "ddim"
V = NoiseScheduleConfig(prediction_type="v_prediction", rescale_betas_zero_snr=True)


@pytest.mark.parametrize(("name", "config"), [("train", V), ("v1", NoiseScheduleConfig())])
def test_min_snr_weights_agree_with_golden(name, config):
    if name == "v1":
        config = NoiseScheduleConfig(beta_schedule="linear")
    with np.load(GOLDEN / "forward.npz") as golden:
        weights = objective.min_snr_weights(config, golden["timesteps"].astype(np.int32), 5.0)
        expected = golden[f"{name}/min_snr_weights_gamma5"]
    np.testing.assert_allclose(weights, expected, rtol=2e-4)  # see test_noise_schedule


def test_forms_of_the_weights():
    times = jnp.arange(0, 1000, 37)
    snr = noise_schedule.snr(V, times)
    shifted = objective.min_snr_weights(V, times, 5.0)
    paper = objective.min_snr_weights(V, times, 5.0, "paper")
    np.testing.assert_allclose(shifted * (snr + 1), np.minimum(snr + 1, 5), rtol=1e-6)
    np.testing.assert_allclose(paper * (snr + 1), np.minimum(snr, 5), rtol=1e-6)
    sample = NoiseScheduleConfig(prediction_type="sample", rescale_betas_zero_snr=True)
    np.testing.assert_allclose(
        objective.min_snr_weights(sample, times, 5.0), np.minimum(snr, 5), rtol=1e-6
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_loss_is_per_sample_and_vanishes_for_the_target(prediction_type):
    config = NoiseScheduleConfig(prediction_type=prediction_type)
    keys = jax.random.split(jax.random.key(0))
    clean, noise = (jax.random.normal(k, (3, 2, 4, 4, 4)) for k in keys)
    times = jnp.array([10, 500, 900])
    target = noise_schedule.prediction_of(config, clean, noise, times)

    loss = objective.diffusion_loss(config, target, clean, noise, times)
    np.testing.assert_array_equal(loss, np.zeros(3))

    off = target.at[1].add(0.5)
    loss = objective.diffusion_loss(config, off, clean, noise, times)
    np.testing.assert_allclose(loss, [0, 0.25, 0], rtol=1e-5)
    weighted = objective.diffusion_loss(config, off, clean, noise, times, snr_gamma=5.0)
    weight = objective.min_snr_weights(config, times, 5.0)[1]
    np.testing.assert_allclose(weighted, [0, 0.25 * weight, 0], rtol=1e-5)


def test_bfloat16_predictions_give_float32_losses():
    zeros, times = jnp.zeros((2, 1, 4, 4, 4), jnp.bfloat16), jnp.array([10, 500])
    assert objective.diffusion_loss(V, zeros, zeros, zeros, times).dtype == jnp.float32


def test_temporal_weight_punishes_changes_and_not_what_all_frames_share():
    config = NoiseScheduleConfig(prediction_type="sample")
    clean, times = jnp.zeros((1, 4, 2, 2, 3)), jnp.array([10])
    shared = clean + 0.5
    flicker = clean.at[:, 1::2].add(0.5)  # three changes of 0.5

    def loss(prediction, weight):
        return objective.diffusion_loss(
            config, prediction, clean, clean, times, temporal_weight=weight
        )

    np.testing.assert_allclose(loss(shared, 2.0), loss(shared, 0.0))
    np.testing.assert_allclose(loss(flicker, 2.0), loss(flicker, 0.0) + 2.0 * 0.5, rtol=1e-6)
    one_frame = flicker[:, 1:2]
    still = objective.diffusion_loss(
        config, one_frame, clean[:, :1], clean[:, :1], times, temporal_weight=2.0
    )
    np.testing.assert_allclose(still, 0.25, rtol=1e-6)
