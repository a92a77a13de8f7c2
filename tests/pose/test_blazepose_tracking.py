"""Whom BlazePose follows, whom it takes up and where it looks, with networks that know everyone."""

import numpy as np
import pytest

from aa_jax.pose import blazepose_detector
from aa_jax.pose.blazepose import Landmarks, sigmoid
from aa_jax.pose.blazepose_detector import Tracker
from aa_jax.pose.blazepose_regions import body_regions
from aa_jax.pose.blazepose_search import search, tiles_of

PICTURE = np.zeros((480, 640, 3), np.uint8)
RADIUS = 100.0


class Knowing:
    """Networks that know where everyone is: hips (x, y); a body is seen in a region around it."""

    def __init__(self):
        self.hips, self.searches, self.shivers = [], 0, False

    def detect(self, squares):
        self.searches += 1
        return [np.zeros((len(squares), 2254, 12)), np.full((len(squares), 2254, 1), -20.0)]

    def bodies(self, picture, regions):
        points, flags, circles = [], [], []
        for x, y, side, _ in regions:
            gaps = [np.hypot(x - a, y - b) for a, b in self.hips] or [np.inf]
            a, b = self.hips[int(np.argmin(gaps))] if self.hips else (x, y)
            flags.append(float(min(gaps) < RADIUS and 0.5 < side / (2.5 * RADIUS) < 2))
            circles.append([[a, b], [a, b - RADIUS]])
            shift = self.shivers * (x % 7) * 10
            points.append(np.stack([np.linspace(a - 40, a + 40, 33) + shift, np.full(33, b)], -1))
        ones = np.ones((len(regions), 33))
        return Landmarks(np.array(points), ones, ones, np.array(flags), np.array(circles))

    def hands(self, picture, landmarks):
        return lambda: (
            np.zeros((len(landmarks.flags), 2, 21, 2)),
            np.zeros((len(landmarks.flags), 2)),
        )


@pytest.fixture
def networks(monkeypatch):
    """Networks whose searches find everyone, a little beside where they are."""
    networks = Knowing()

    def find(picture, tiles, detect):
        detect(np.zeros((len(tiles), 1)))
        points = [[(x + 9, y), (x + 9, y - RADIUS), (x, y), (x, y)] for x, y in networks.hips]
        found = np.array(points).reshape(-1, 4, 2)
        return blazepose_detector.blazepose.Found(np.ones(len(found)), np.zeros((0, 4)), found)

    monkeypatch.setattr(blazepose_detector, "search", find)
    return networks


def test_people_are_followed_without_a_search(networks):
    tracker = Tracker(networks)
    for t in range(29):
        networks.hips = [(200 + 3 * t, 300), (500 - 2 * t, 310)]
        (people,) = tracker([PICTURE])
        assert people.found == 2
        assert people.points[0, 0, 0] == 160 + 3 * t  # the first stays the first
    assert networks.searches == 7  # all in the first frames


def test_a_person_lost_is_searched_for_at_once(networks):
    tracker = Tracker(networks)
    networks.hips = [(200, 300)]
    assert [people.found for people in tracker([PICTURE] * 12)] == [1] * 12
    before = networks.searches
    networks.hips = [(600, 200)]
    assert [people.found for people in tracker([PICTURE])] == [1]
    assert networks.searches == before + 1


def test_newcomers_come_in_at_the_next_search(networks):
    networks.hips = [(200, 300)]
    tracker = Tracker(networks)
    tracker([PICTURE] * 20)
    networks.hips = [(200, 300), (450, 300)]
    assert [people.found for people in tracker([PICTURE] * 11)] == [1] * 10 + [2]


def test_beside_small_people_all_tiles_are_searched():
    tiles_for = blazepose_detector._tiles_for
    everywhere = sum(map(len, tiles_of(640, 480)))
    later = {"frame": 60, "since_loss": 60}
    assert len(tiles_for(PICTURE, 0, 0, 0)) == everywhere
    assert len(tiles_for(PICTURE, largest=0, **later)) == everywhere
    assert len(tiles_for(PICTURE, largest=30, **later)) == everywhere
    assert len(tiles_for(PICTURE, largest=100, **later)) == 4
    assert tiles_for(PICTURE, 61, 100, 60) == []
    assert len(tiles_for(PICTURE, 61, 100, 1)) == 2
    assert len(tiles_for(PICTURE, 61, 0, 60)) == 2


def test_what_looks_otherwise_at_a_second_look_is_nobody(networks):
    networks.hips, networks.shivers = [(200, 300)], True
    assert Tracker(networks)([PICTURE])[0].found == 0


def test_two_that_become_one_are_one(networks):
    networks.hips = [(200, 300), (500, 300)]
    tracker = Tracker(networks)
    tracker([PICTURE] * 29)
    networks.hips = [(250, 300)]  # both regions find it: nearer than a radius to one of them
    tracker.state[2] = tracker.state[1]
    assert [people.found for people in tracker([PICTURE] * 2)][-1] == 1


def test_a_tracker_goes_on_as_another(networks):
    networks.hips = [(200, 300)]
    first = Tracker(networks)
    first([PICTURE] * 7)
    second = Tracker(networks, first.state)
    networks.hips = [(206, 300)]
    (a,), (b,) = first([PICTURE]), second([PICTURE])
    np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_array_equal(first.state, second.state)


def test_hands_are_looked_at_while_the_next_body_is(networks):
    """What waits for the hands of a frame is called when all bodies of a batch are known."""
    done = []

    class Noting(Knowing):
        def bodies(self, picture, regions):
            done.append("body")
            return super().bodies(picture, regions)

        def hands(self, picture, landmarks):
            done.append("begin")
            finish = super().hands(picture, landmarks)
            return lambda: (done.append("hands"), finish())[1]

    noting = Noting()
    networks.hips = noting.hips = [(200, 300)]
    tracker = Tracker(noting)
    tracker([PICTURE])
    done.clear()
    tracker([PICTURE] * 3)
    assert done == ["body", "begin"] * 3 + ["hands"] * 3


# --- tiles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(640, 480), (480, 854), (1920, 1080), (300, 200), (3840, 2160)])
def test_everybody_lies_whole_in_a_tile(size):
    """Whoever is smaller than half a tile's side, down to half the smallest tiles'."""
    width, height = size
    levels = tiles_of(width, height)
    rng = np.random.default_rng(0)
    for level in levels[1:]:
        side = max(level[0].width, level[0].height)
        for _ in range(50):
            w, h = np.minimum(side / 2, [width, height])
            x, y = rng.uniform(0, [width - w, height - h])
            assert any(
                t.x <= x and x + w <= t.x + t.width and t.y <= y and y + h <= t.y + t.height
                for t in level
            )
    assert all(min(t.x, t.y) >= 0 for level in levels for t in level)
    tiles = [tile for level in levels for tile in level]
    assert all(t.x + t.width <= width and t.y + t.height <= height for t in tiles)


def test_bodies_cut_off_by_a_tile_are_left_to_others():
    """The detector answers every tile with a body around its right edge."""
    picture = np.zeros((640, 640, 3), np.uint8)

    def detect(squares):
        outputs = np.zeros((len(squares), 2254, 12), np.float32)
        logits = np.full((len(squares), 2254, 1), -20.0, np.float32)
        anchor = 2 * (14 * 28 + 26)
        outputs[:, anchor] = [0, 0, 10, 10, 0, 0, 0, -40, 0, 0, 0, -20]
        logits[:, anchor] = 3
        return [outputs, logits]

    whole, halves, _ = tiles_of(640, 640)
    assert len(search(picture, whole, detect).scores) == 1
    found = search(picture, halves, detect)
    np.testing.assert_allclose(found.scores, sigmoid(np.full(3, 3.0)))
    assert (found.points[:, 0, 0] > 600).all()  # those at the picture's own edge
    assert body_regions(found.points[:, :2])[0, 2] == pytest.approx(2.5 * 40 * 320 / 224)
