import numpy as np
import pytest

from aa_jax.data.preparation.filters import RULES, Rules, refusals
from aa_jax.pose.keypoints import Keypoints


def clip(frames=30, width=64, height=64, visible=18):
    scores = np.zeros((frames, 18))
    scores[:, :visible] = 0.9
    return Keypoints(np.ones((frames, 18, 2)), scores, width=width, height=height, fps=24)


def without_person(keypoints, frames):
    keypoints.body_scores[:frames] = 0.1  # below what counts as visible
    return keypoints


ONE = np.ones(30, int)
CROWDED = np.where(np.arange(30) < 9, 2, 1)


@pytest.mark.parametrize(
    ("keypoints", "people", "rule", "figure"),
    [
        (clip(23), np.ones(23, int), "short", "23 frames"),
        (clip(height=31), ONE, "small", "shorter side of 31 pixels"),
        (clip(), CROWDED, "crowded", "several people in 30% of the frames"),
        (without_person(clip(), 6), ONE, "empty", "nobody in 20% of the frames"),
        (clip(visible=8), ONE, "hidden", "44% of the joints visible"),
    ],
)
def test_every_rule_leaves_out_its_own(keypoints, people, rule, figure):
    assert list(refusals(Rules(), keypoints, people)) == [(rule, figure)]
    assert rule in RULES


def test_a_good_clip_breaks_no_rule_and_some_flaws_are_let_pass():
    assert not refusals(Rules(), clip(24), np.ones(24, int))
    some = np.where(np.arange(30) < 3, 2, 1)
    assert not refusals(Rules(), without_person(clip(), 3), some)


def test_every_rule_can_be_turned_off():
    everything = Rules(min_frames=0, min_side=0, max_crowded=1, max_empty=1, min_visible=0)
    nobody = without_person(clip(1, width=2, height=2), 1)
    assert not refusals(everything, nobody, np.array([3]))
    assert len(refusals(Rules(), nobody, np.array([3]))) == len(RULES)
