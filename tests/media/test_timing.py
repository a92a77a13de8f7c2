"""The steady rate of frames, whatever their file says of itself."""

from fractions import Fraction

import numpy as np
import pytest

from aa_jax.media import timing

NTSC = Fraction(30000, 1001)


def rate_of(times, tick=0.001, stated=()):
    return timing.steady_rate(timing.in_order(times, stated), tick, stated)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 24, 25, NTSC, 30, 50, Fraction(73, 10)])
@pytest.mark.parametrize("tick", [1 / 1000, 1 / 12800, 1 / 90000])
@pytest.mark.parametrize("rounding", [np.round, np.floor])
def test_rates_are_exact_whatever_the_clock_rounds(rate, tick, rounding):
    times = rounding(np.arange(400) / float(rate) / tick + 1e-6) * tick
    assert rate_of(times, tick) == (rate, False)


def test_a_stated_rate_decides_between_those_that_fit():
    times = np.round(np.arange(6) / float(NTSC), 3)  # 30 fits six frames too
    assert rate_of(times) == (30, False)
    assert rate_of(times, stated=[NTSC]) == (NTSC, False)
    assert rate_of(times, stated=[Fraction(1000), Fraction(25)]) == (30, False)


@pytest.mark.parametrize("seed", range(4))
def test_a_recorder_that_jitters_is_steady(seed):
    generator = np.random.default_rng(seed)
    times = np.round(np.arange(90) / 30 + generator.uniform(-0.003, 0.003, 90), 3)
    assert rate_of(times, stated=[Fraction(1000)]) == (30, False)


def test_gif_delays_of_40_and_50_ms():
    times = np.cumsum([0] + [0.04, 0.05] * 12)
    rate, variable = rate_of(times, 0.01, [Fraction(25)])
    assert (float(rate), variable) == (pytest.approx(200 / 9, rel=1e-3), False)
    delays = np.diff(np.round(np.arange(40) * 100 / 24)) / 100  # 24 a second, in hundredths
    assert set(delays.round(2)) == {0.04, 0.05}
    assert rate_of(np.cumsum([0, *delays]), 0.01, [Fraction(25), Fraction(20)]) == (24, False)


@pytest.mark.parametrize(
    "times",
    [
        [0, 40, 80, 500, 540, 580],  # a pause
        [0, 40, 120, 160, 200, 280],  # dropped or merged frames
        [0, 40, 80, 80, 120, 160],  # a frame replaced as it is shown
    ],
)
def test_a_variable_rate_has_a_usual_one(times):
    assert rate_of(np.array(times) / 1000) == (25, True)


def test_a_rate_that_changes_slowly_is_variable():
    """No gap is far from the usual one, but half the frames are many frames away from its grid."""
    times = np.cumsum([0] + [0.04] * 50 + [0.05] * 50)
    assert rate_of(times)[1]


def test_one_frame_has_the_rate_its_file_states_if_that_can_be():
    assert rate_of([3.0], stated=[Fraction(24)]) == (24, False)
    assert rate_of([3.0], stated=[None, Fraction(1000)]) == (25, False)


def test_frames_without_times_follow_each_other():
    assert rate_of([None] * 4, stated=[Fraction(1200000), Fraction(30)]) == (30, False)
    found = timing.in_order([None, 0.04, None, 0.12, None], [])
    np.testing.assert_allclose(found, np.arange(5) / 25)


def test_times_out_of_order_by_as_much_as_codecs_reorder_are_sorted():
    avi = np.array([1, 4, 3, 5, 2, 8, 7, 9, 6, 10]) / 25
    np.testing.assert_allclose(timing.in_order(avi, []), np.arange(10) / 25)
    # The decoder has no time of its own for the last ones.
    avi = np.array([2, 4, 3, 6, 5, 7, 7, 7]) / 25
    np.testing.assert_allclose(timing.in_order(avi, []), np.arange(8) / 25)


def test_times_that_jump_back_are_refused():
    twice = [*(np.arange(50) / 25), *(np.arange(50) / 25)]
    with pytest.raises(timing.TimesError, match=r"jump back by 1\.96 s after frame 50"):
        timing.in_order(twice, [])


def test_the_frames_shown_at_a_steady_rate():
    times = np.array([0, 0.04, 0.08, 0.2, 0.24])
    assert timing.moments(times, 25).tolist() == [0, 1, 2, 2, 2, 3, 4]
    late = np.arange(8) / 25 + np.array([0, 0.003, 0, 0.008, 0, 0, 0.005, 0.002])
    assert timing.moments(late, 25).tolist() == list(range(8))


def test_times_that_no_video_can_have_are_refused():
    with pytest.raises(timing.TimesError, match="3 frames are spread over 1e"):
        timing.moments(np.array([0, 0.04, 1e12]), 25.0)
