"""Which of several people is kept, and the file that detections rest in."""

import numpy as np
import pytest

from aa_jax.pose import people
from aa_jax.pose.keypoints import KeypointsError
from aa_jax.pose.people import Detections, People


def person(x, score):
    points = np.zeros((134, 2), np.float32)
    points[:, 0] = x + np.arange(134) % 7 * 5
    points[:, 1] = 50 + np.arange(134) % 11 * 9
    return points, np.full(134, score, np.float32)


def frame(*pairs):
    """A frame with people at (x, score)."""
    points, scores = zip(*(person(*pair) for pair in pairs), strict=True)
    return People(np.stack(points), np.stack(scores), len(pairs))


@pytest.fixture
def crossing():
    """Two people; the one walking right is seen best in sum, but not in frame 2."""
    frames = [frame((10 + 8 * t, 0.9), (300 - 8 * t, 0.5)) for t in range(6)]
    frames[2] = frame((300 - 16, 0.8), (10 + 16, 0.6))
    return Detections(tuple(frames), 400, 200, 25.0)


def test_best_person_of_every_frame(crossing):
    keypoints = crossing.keypoints()

    assert keypoints.body[:, 0, 0].tolist() == [10, 18, 284, 34, 42, 50]
    np.testing.assert_allclose(keypoints.body_scores[:, 0], [0.9, 0.9, 0.8, 0.9, 0.9, 0.9])
    assert (keypoints.width, keypoints.height, keypoints.fps) == (400, 200, 25)


def test_tracked_person_is_the_same_all_through(crossing):
    keypoints = crossing.keypoints(track=True)

    assert keypoints.body[:, 0, 0].tolist() == [10, 18, 26, 34, 42, 50]
    np.testing.assert_allclose(keypoints.body_scores[2, 0], 0.6)


def test_a_person_pointed_at_is_followed(crossing):
    left = [300, 292, 284, 276, 268, 260]
    for t, index in ((0, 1), (2, 0)):
        assert crossing.keypoints(person=(t, index)).body[:, 0, 0].tolist() == left
    assert crossing.chosen(person=(0, 1)) == [1, 1, 0, 1, 1, 1]
    assert [len(track) for track in crossing.tracks()] == [6, 6]
    with pytest.raises(KeypointsError, match="there is no person 2 in frame 1: it shows 2, from 0"):
        crossing.keypoints(person=(1, 2))
    with pytest.raises(KeypointsError, match="there is no frame 6: there are 6, from 0"):
        crossing.keypoints(person=(6, 0))


def test_whom_to_follow_in_one_word(crossing):
    for who, other in (("best", {}), ("tracked", {"track": True}), ((0, 1), {"person": (0, 1)})):
        expected = crossing.keypoints(**other)
        np.testing.assert_array_equal(crossing.follow(who).body, expected.body)


def test_tracked_person_is_absent_while_away():
    frames = (frame((10, 0.9)), frame((300, 0.3)), frame((12, 0.9)))

    keypoints = Detections(frames, 400, 200, 25.0).keypoints(track=True)

    assert keypoints.body[:, 0, 0].tolist() == [10, 0, 12]
    assert keypoints.body_scores[:, 0].tolist() == [np.float32(0.9), 0, np.float32(0.9)]


@pytest.mark.parametrize("track", [False, True])
def test_parts_of_the_134_points(track):
    points = np.stack([np.arange(134), np.zeros(134)], 1).astype(np.float32)
    scores = np.linspace(-0.5, 1.5, 134).astype(np.float32)
    only = People(points[None], scores[None], 1)

    keypoints = Detections((only,), 200, 10, 1.0).keypoints(track=track)

    assert keypoints.body[0, :, 0].tolist() == list(range(18))
    assert keypoints.face[0, :, 0].tolist() == list(range(24, 92))
    assert keypoints.hands[0, 0, :, 0].tolist() == list(range(92, 113))  # the left one
    assert keypoints.hands[0, 1, :, 0].tolist() == list(range(113, 134))
    assert keypoints.body_scores.min() == 0
    assert keypoints.hand_scores.max() == 1


def test_file_round_trip(crossing, tmp_path):
    path = tmp_path / "a.npz"
    people.save(path, "key", crossing, complete=False)

    found, complete, _ = people.load(path, "key")

    assert not complete
    assert found.people_found.tolist() == [2] * 6
    for before, after in zip(crossing.frames, found.frames, strict=True):
        np.testing.assert_array_equal(before.points, after.points)
        np.testing.assert_array_equal(before.scores, after.scores)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_files_that_are_no_use(crossing, tmp_path):
    path = tmp_path / "a.npz"
    assert people.load(path, "key") is None
    people.save(path, "key", crossing, complete=True)
    assert people.load(path, "another") is None
    path.write_bytes(path.read_bytes()[:200])
    assert people.load(path, "key") is None
