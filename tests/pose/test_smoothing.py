"""Gaps are filled, jitter goes, motion stays."""

import dataclasses

import numpy as np
import pytest
from stick_figures import moving_figure

from aa_jax.pose.keypoints import KeypointsError
from aa_jax.pose.smoothing import fill_gaps, savgol, smooth

METHODS = ("one_euro", "savgol")


@pytest.fixture
def clip():
    return moving_figure(np.random.default_rng(0), 60)


def lose(keypoints, frames, joint, score=0.0):
    """The clip without a joint of the body in some frames, whose place becomes nonsense."""
    body, scores = keypoints.body.copy(), keypoints.body_scores.copy()
    body[frames, joint], scores[frames, joint] = 9999, score
    return dataclasses.replace(keypoints, body=body, body_scores=scores)


def test_short_gap_is_filled_on_a_straight_line(clip):
    lost = lose(clip, slice(10, 13), joint=4, score=0.3)
    lost.body_scores[9, 4] = 0.6

    filled = fill_gaps(lost, max_gap=0.2)  # 4.8 frames

    line = np.linspace(clip.body[9, 4], clip.body[13, 4], 5)[1:-1]
    np.testing.assert_allclose(filled.body[10:13, 4], line, rtol=1e-5)
    assert filled.body_scores[10:13, 4].tolist() == [np.float32(0.6)] * 3
    rest = np.delete(np.arange(60), [10, 11, 12])
    np.testing.assert_array_equal(filled.body[rest], clip.body[rest])


@pytest.mark.parametrize("frames", [slice(10, 15), slice(0, 2), slice(58, 60), slice(0, 60)])
def test_long_gaps_and_those_at_the_ends_stay(clip, frames):
    lost = lose(clip, frames, joint=4)

    filled = fill_gaps(lost, max_gap=0.2)

    np.testing.assert_array_equal(filled.body, lost.body)
    np.testing.assert_array_equal(filled.body_scores, lost.body_scores)


def test_gaps_of_hands_and_face(clip):
    scores = clip.hand_scores.copy(), clip.face_scores.copy()
    scores[0][20, 1, 8] = scores[1][20, 30] = 0
    lost = dataclasses.replace(clip, hand_scores=scores[0], face_scores=scores[1])

    filled = fill_gaps(lost)

    assert (filled.hand_scores == 1).all()
    assert (filled.face_scores == 1).all()
    middle = (clip.hands[19, 1, 8] + clip.hands[21, 1, 8]) / 2
    np.testing.assert_allclose(filled.hands[20, 1, 8], middle, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_jitter_shrinks_and_motion_stays(clip, method):
    rng = np.random.default_rng(1)
    noisy = dataclasses.replace(clip, body=clip.body + rng.normal(0, 2, clip.body.shape))

    smoothed = smooth(noisy, method)

    def jitter(keypoints):  # second differences: nought for steady motion
        return np.abs(np.diff(keypoints.body, 2, axis=0)).mean()

    assert jitter(smoothed) < 0.5 * jitter(noisy)
    assert np.abs(smoothed.body - clip.body).mean() < 0.85 * np.abs(noisy.body - clip.body).mean()
    np.testing.assert_array_equal(smoothed.body_scores, clip.body_scores)


@pytest.mark.parametrize("method", METHODS)
def test_steady_motion_does_not_lag(clip, method):
    steady = np.arange(60)[:, None, None] * np.array([3.0, -2.0]) + clip.body[:1]

    smoothed = smooth(dataclasses.replace(clip, body=steady), method)

    np.testing.assert_allclose(smoothed.body[20:40], steady[20:40], atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_scale_of_the_picture_does_not_matter(clip, method):
    twice = dataclasses.replace(
        clip, **{n: 2 * getattr(clip, n) for n in ("body", "hands", "face")}
    )

    smoothed = smooth(twice, method)

    np.testing.assert_allclose(smoothed.body / 2, smooth(clip, method).body, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_missing_joints_touch_nothing_else(clip, method):
    lost = lose(clip, slice(25, 30), joint=4)

    smoothed = smooth(lost, method)

    np.testing.assert_array_equal(smoothed.body[25:30, 4], lost.body[25:30, 4])
    parts = [smooth(clip[:25], method), smooth(clip[30:], method)]
    found = smoothed.body[np.r_[:25, 30:60], 4]
    expected = np.concatenate([part.body[:, 4] for part in parts])
    np.testing.assert_allclose(found, expected, atol=0.1)  # the body's size is the clip's


@pytest.mark.parametrize("frames", [0, 1, 2, 4])
@pytest.mark.parametrize("method", [*METHODS, "none"])
def test_clips_of_any_length(clip, frames, method):
    smoothed = smooth(fill_gaps(clip[:frames]), method)

    assert smoothed.body.shape == (frames, 18, 2)
    assert np.isfinite(smoothed.body).all()


def test_savgol_keeps_a_cubic():
    t = np.linspace(-1, 1, 30)
    cubic = np.stack([t**3 - t, 2 * t**2], 1)

    np.testing.assert_allclose(savgol(cubic, 24.0), cubic, atol=1e-9)


def test_unknown_method(clip):
    with pytest.raises(KeypointsError, match="one_euro, savgol, none"):
        smooth(clip, "kalman")
