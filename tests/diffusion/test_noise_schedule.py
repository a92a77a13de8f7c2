"""The noise schedule agrees with diffusers' tables; its conversions invert each other."""

from pathlib import Path

import jax
import numpy as np
import pytest

from aa_jax.config import ConfigError, NoiseScheduleConfig
from aa_jax.diffusion import noise_schedule

GOLDEN = Path(__file__).parent / "golden" / "ddim"
GOLDEN_CONFIGS = {
    "v2": NoiseScheduleConfig(
        beta_schedule="linear", prediction_type="v_prediction", rescale_betas_zero_snr=True
    ),
    "v1": NoiseScheduleConfig(beta_schedule="linear"),
    "train": NoiseScheduleConfig(prediction_type="v_prediction", rescale_betas_zero_snr=True),
}


@pytest.mark.parametrize("name", GOLDEN_CONFIGS)
def test_tables_agree_with_golden(name):
    tables = noise_schedule.tables(GOLDEN_CONFIGS[name])
    with np.load(GOLDEN / "tables.npz") as golden:
        # the golden tables were multiplied up in float32
        np.testing.assert_allclose(
            tables.alphas_cumprod, golden[f"{name}/alphas_cumprod"], rtol=2e-4, atol=1e-6
        )
        np.testing.assert_allclose(tables.betas, golden[f"{name}/betas"], rtol=0, atol=1e-5)
    if name != "v1":
        assert tables.alphas_cumprod[-1] == 0
        assert tables.signal[-1] == 0
        assert tables.noise[-1] == 1
    assert all(row.dtype == np.float32 for row in tables)


@pytest.mark.parametrize("name", GOLDEN_CONFIGS)
def test_forward_process_agrees_with_golden(name):
    config = GOLDEN_CONFIGS[name]
    with np.load(GOLDEN / "forward.npz") as golden:
        times = golden["timesteps"].astype(np.int32)
        noisy = noise_schedule.add_noise(config, golden["x0"], golden["noise"], times)
        velocity = noise_schedule.velocity(config, golden["x0"], golden["noise"], times)
        np.testing.assert_allclose(noisy, golden[f"{name}/add_noise"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(velocity, golden[f"{name}/get_velocity"], rtol=0, atol=1e-5)
        # The golden ratio divides by 1 - 0.99915 in float32, good to four digits.
        np.testing.assert_allclose(
            noise_schedule.snr(config, times), golden[f"{name}/snr"], rtol=2e-4, atol=1e-6
        )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_predictions_convert_to_clean_and_noise_and_back(prediction):
    config = NoiseScheduleConfig(prediction_type=prediction)
    keys = jax.random.split(jax.random.key(0))
    clean, noise = (jax.random.normal(k, (4, 2, 3, 3, 4)) for k in keys)
    times = np.array([1, 250, 600, 999], np.int32)

    noisy = noise_schedule.add_noise(config, clean, noise, times)
    perfect = noise_schedule.prediction_of(config, clean, noise, times)
    found_clean, found_noise = noise_schedule.clean_and_noise(config, perfect, noisy, times)

    # 5e-5: dividing by a signal of 0.07 or a noise of 0.04 magnifies the rounding of float32
    np.testing.assert_allclose(found_clean, clean, rtol=0, atol=5e-5)
    np.testing.assert_allclose(found_noise, noise, rtol=0, atol=5e-5)


def test_epsilon_at_zero_terminal_snr_is_refused():
    with pytest.raises(ConfigError, match="epsilon prediction carries no signal"):
        NoiseScheduleConfig(prediction_type="epsilon", rescale_betas_zero_snr=True)
