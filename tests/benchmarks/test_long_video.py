"""The seam figure is one without seams, and larger where windows leave some."""

import numpy as np
import pytest

from aa_jax.sampling.windows import Windows
from benchmarks.long_video import boundaries, change_error, seam_ratio


def test_boundaries_are_where_the_set_of_windows_changes():
    windows = Windows(method="uniform", frames=6, overlap=2)
    # windows 0..5, 4..9, 8..13; the last is 8..11 and goes on at 0 and 1
    changes = np.flatnonzero(boundaries(windows, 12))
    assert changes.tolist() == [1, 3, 5, 7, 9]


def test_change_error_is_that_of_the_motion_alone():
    truth = np.random.default_rng(0).integers(0, 100, (5, 4, 4, 3), np.uint8)
    assert change_error(truth + 50, truth).tolist() == [0, 0, 0, 0]  # another colour, same motion
    jumped = truth.copy()
    jumped[3:] += 51
    np.testing.assert_allclose(change_error(jumped, truth), [0, 0, 51 / 255, 0], rtol=1e-6)


def test_seam_ratio_compares_seams_with_the_interior():
    seam = np.array([False, True, False, False])
    errors = np.array([[1.0, 3.0, 2.0, 3.0], [1.0, 5.0, 2.0, 3.0]])
    assert seam_ratio(errors, seam) == pytest.approx(4 / 2)
    assert seam_ratio(np.ones((2, 4)), seam) == 1
