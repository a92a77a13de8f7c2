import numpy as np
import pytest

from aa_jax.metrics import image

PICTURE = np.random.default_rng(0).integers(0, 200, (16, 16, 3), np.uint8)


def test_psnr_of_a_known_error():
    """An error of 5 everywhere has a mean square of 25."""
    assert image.psnr(PICTURE, PICTURE + 5) == pytest.approx(10 * np.log10(255**2 / 25))


def test_psnr_sees_the_mask_only():
    other, mask = PICTURE.copy(), np.zeros((16, 16), bool)
    mask[:4] = True
    other[:4] += 10
    other[4:] += 50
    assert image.psnr(PICTURE, other, mask) == pytest.approx(10 * np.log10(255**2 / 100))


def test_equal_pictures_stay_finite():
    assert np.isfinite(image.psnr(PICTURE, PICTURE))
    assert image.ssim(PICTURE, PICTURE) == pytest.approx(1.0)


def test_ssim_is_scikit_image_s():
    from skimage.metrics import structural_similarity

    other = PICTURE + np.random.default_rng(1).integers(0, 56, PICTURE.shape, np.uint8)
    expected = structural_similarity(PICTURE, other, channel_axis=-1)
    assert image.ssim(PICTURE, other) == pytest.approx(expected)
    assert expected < 0.97
