"""Windows cover a long video evenly; `uniform` ones are those of Moore-AnimateAnyone a914ef3."""

import itertools
import json
import pathlib

import numpy as np
import pytest
from tiny_model import MODEL

from aa_jax.config import ConfigError, SamplingConfig
from aa_jax.sampling.windows import METHODS, Windows, ordered_halving, uniform_windows

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/context/uniform.json").read_text())
STEPS = 20


def plans(video_frames, **settings):
    windows = Windows(**settings)
    return [windows.plan(video_frames, step=step, steps=STEPS) for step in range(STEPS)]


def total_weights(plan):
    return np.bincount(plan.frames.ravel(), plan.weights.ravel())


# --- uniform ------------------------------------------------------------------------------------


def test_ordered_halving_is_moores():
    for step, value in GOLDEN["ordered_halving"].items():
        assert ordered_halving(int(step)) == value


def test_uniform_windows_are_moores():
    for case in GOLDEN["cases"]:
        found = uniform_windows(
            case["num_frames"],
            size=case["context_size"],
            stride=case["context_stride"],
            overlap=case["context_overlap"],
            step=case["step"],
            closed_loop=case["closed_loop"],
        )
        assert list(found) == case["windows"], {k: v for k, v in case.items() if k != "windows"}


def test_uniform_windows_never_move_and_wrap_around_the_end():
    first, *others = plans(30, method="uniform", frames=12, overlap=4)
    assert first.frames[:, 0].tolist() == [0, 8, 16, 24]
    assert first.frames[-1].tolist() == [24, 25, 26, 27, 28, 29, 0, 1, 2, 3, 4, 5]
    for other in others:
        np.testing.assert_array_equal(other.frames, first.frames)


def test_predictions_are_summed_where_moore_sums_them():
    plan = Windows(method="uniform", frames=12, overlap=4, average=False).plan(
        30, step=0, steps=STEPS
    )
    assert (plan.weights == 1).all()
    assert set(total_weights(plan)) == {1.0, 2.0}


def test_of_a_frame_twice_in_a_window_the_last_copy_counts():
    plan = Windows(method="uniform", frames=16, overlap=0, stride=2, average=False).plan(
        31, step=0, steps=STEPS
    )
    window, weights = plan.frames[1].tolist(), plan.weights[1]
    assert window[-1] == 0
    assert window.count(0) == 1
    # windows of distance 2 come round to frames they had
    twice = [
        (frames, row)
        for frames, row in zip(plan.frames.tolist(), plan.weights, strict=True)
        if len(set(frames)) < len(frames)
    ]
    for frames, row in twice:
        for i, frame in enumerate(frames):
            assert row[i] == (frame not in frames[i + 1 :])
    assert weights.all()


# --- all methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("video_frames", [5, 24, 25, 37, 48, 49, 240])
@pytest.mark.parametrize("overlap", [0, 4, 23])
def test_weights_of_every_frame_sum_to_one(method, video_frames, overlap):
    for plan in plans(video_frames, method=method, frames=24, overlap=overlap):
        assert plan.frames.shape == plan.weights.shape
        assert plan.frames.shape[1] == min(24, video_frames)
        totals = total_weights(plan)
        assert len(totals) == video_frames
        np.testing.assert_allclose(totals, 1, rtol=1e-6)


@pytest.mark.parametrize("method", ["blend", "edge"])
def test_windows_run_from_the_first_frame_to_the_last(method):
    for plan in plans(100, method=method, frames=24):
        assert plan.frames.min() == 0
        assert plan.frames[-1, -1] == 99
        assert (np.diff(plan.frames, axis=1) == 1).all()  # none wraps around
        gaps = np.diff(plan.frames[:, 0])
        assert ((gaps > 0) & (gaps <= 20)).all()


def test_blended_seams_move_in_every_step():
    starts = [plan.frames[1:-1, 0] for plan in plans(240, frames=24, overlap=4)]
    for one, next_one in itertools.pairwise(starts):
        assert not set(one) & set(next_one)
    visits = np.bincount(np.concatenate(starts), minlength=217)
    assert visits[20:196].max() <= 3  # of twenty steps, no frame is a seam in more than three


def test_blend_fades_from_one_window_into_the_next():
    plan = Windows(frames=6, overlap=4).plan(8, step=0, steps=STEPS)
    np.testing.assert_array_equal(plan.frames[:, 0], [0, 2])
    expected = [1, 1, 3 / 4, 3 / 5, 2 / 5, 1 / 4]
    np.testing.assert_allclose(plan.weights, [expected, expected[::-1]], rtol=1e-6)


def test_edge_windows_overlap_by_half_and_the_earlier_one_rules():
    *early, last = plans(12, method="edge", frames=6, overlap=1)
    for plan in early:
        assert plan.frames[:, 0].tolist() == [0, 3, 6]
        np.testing.assert_array_equal(
            plan.weights, [[1] * 6, [0, 0, 0, 1, 1, 1], [0] * 3 + [1] * 3]
        )
    # the last step cross-fades
    fade = [1 / 4, 2 / 4, 3 / 4]
    np.testing.assert_allclose(
        last.weights, [[1] * 3 + fade[::-1], fade + fade[::-1], fade + [1] * 3], rtol=1e-6
    )


def test_number_of_windows_grows_with_the_video():
    for method in METHODS:
        counts = [
            sum(len(plan.frames) for plan in plans(n, method=method, frames=24)) / STEPS
            for n in (240, 2400)
        ]
        assert counts[1] / counts[0] == pytest.approx(10, rel=0.1)


# --- settings -----------------------------------------------------------------------------------


def test_weights_choose_windows_and_flags_overrule_them():
    sampling = SamplingConfig(window_method="uniform", window_frames=24, window_overlap=8)
    # the tiny model has six positions, so windows are no longer than that
    windows = Windows.for_weights(sampling, MODEL)
    assert windows == Windows(method="uniform", frames=6, overlap=5)
    chosen = Windows.for_weights(sampling, MODEL, method="blend", overlap=2)
    assert chosen == Windows(method="blend", frames=6, overlap=2)


def test_windows_that_do_not_advance_are_refused():
    with pytest.raises(ConfigError, match=r"overlap must be from 0 to 5 in windows of 6 .* got 6"):
        Windows.for_weights(SamplingConfig(), MODEL, overlap=6)
