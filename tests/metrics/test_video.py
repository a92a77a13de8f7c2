import numpy as np
import pytest

from aa_jax.metrics import video

T, H, W = 3, 16, 16


@pytest.fixture
def target():
    return np.random.default_rng(0).integers(50, 150, (T, H, W, 3), np.uint8)


@pytest.fixture
def mask():
    mask = np.zeros((T, H, W), bool)
    mask[:, 4:8, 4:8] = True
    mask[1, 8:10] = True
    return mask


def test_a_perfect_clip_has_no_error(target, mask):
    metrics = video.clip_metrics(target, target, mask)
    assert metrics["ssim"] == pytest.approx(1.0)
    assert metrics["mae"] == metrics["temporal_error"] == 0.0


def test_a_constant_offset_is_an_error_but_not_a_temporal_one(target, mask):
    metrics = video.clip_metrics(target, target + 10, mask)
    assert metrics["mae"] == pytest.approx(10 / 255)
    assert metrics["temporal_error"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / 100))


def test_temporal_error_compares_changes(mask):
    target, result = np.full((2, T, H, W, 3), 100, np.uint8)
    result[1] = 130  # up by 30, then down by 30, where the truth stands still
    assert video.clip_metrics(target, result, mask)["temporal_error"] == pytest.approx(30 / 255)


def test_background_flicker_ignores_whatever_any_mask_covers(mask):
    target, result = np.full((2, T, H, W, 3), 100, np.uint8)
    covered = mask.any(axis=0)
    result[1][covered] = 255
    assert video.clip_metrics(target, result, mask)["background_flicker"] == 0.0
    result[1][~covered] = 151
    flicker = video.clip_metrics(target, result, mask)["background_flicker"]
    assert flicker == pytest.approx(51 / 255)


def test_mean_metrics_average_over_clips(target, mask):
    mean = video.mean_metrics([target, target], [target + 10, target + 30], [mask, mask])
    assert mean["mae"] == pytest.approx(20 / 255)
