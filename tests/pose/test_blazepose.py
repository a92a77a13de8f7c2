"""The numbers around MediaPipe's networks, step by step."""

import numpy as np
import pytest

from aa_jax.pose import blazepose
from aa_jax.pose.blazepose import Landmarks
from aa_jax.pose.blazepose_circles import Circles
from aa_jax.pose.blazepose_regions import (
    body_regions,
    crop,
    hand_regions,
    maps_of,
    placed,
    recropped,
)
from aa_jax.pose.keypoints import BODY_JOINTS
from aa_jax.pose.orders import BODY, FACE, LEFT_HAND, RIGHT_HAND


def test_an_upright_body_has_an_upright_region():
    circles = np.array([[[50.0, 80.0], [50.0, 40.0]]])  # hips, and above the head
    np.testing.assert_allclose(body_regions(circles), [[50, 80, 2 * 40 * 1.25, 0]], atol=1e-9)


def test_a_turned_body_stands_upright_in_its_crop():
    """A body that lies with its head to the right: the head comes to the top of the crop."""
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[98:103, 138:143] = 255  # the head
    (region,) = body_regions(np.array([[[100.0, 100.0], [140.0, 100.0]]]))

    seen = crop(picture, region, 100)

    rows, columns = np.nonzero(seen[..., 0])
    assert abs(columns.mean() - 50) < 1
    assert abs(rows.mean() - 10) < 1  # 40 of 50 pixels above the middle, at one pixel per pixel


def test_points_of_a_crop_go_back_to_the_picture():
    regions = np.array([[70.0, 60.0, 80.0, 0.6], [10.0, 20.0, 30.0, -2.0]])
    maps = maps_of(regions, 256)

    center = placed(np.full((2, 1, 2), 128.0), maps)

    np.testing.assert_allclose(center[:, 0], regions[:, :2])
    corners = placed(np.array([[[0.0, 0.0], [256.0, 0.0]]] * 2), maps)
    np.testing.assert_allclose(np.linalg.norm(np.diff(corners, axis=1), axis=-1)[:, 0], [80, 30])


def test_beyond_the_picture_its_edge_goes_on():
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, 0] = 200
    seen = crop(picture, np.array([0.0, 10.0, 20.0, 0.0]), 20)
    assert seen[:, :10].min() == 200


def test_a_raised_hand_lies_above_its_wrist():
    points = np.array([[[50.0, 90.0], [44.0, 60.0], [56.0, 60.0]]])  # wrist, little, index finger
    x, y, side, angle = hand_regions(points)[0]
    assert abs(x - 52) < 2
    assert y < 60
    assert side == pytest.approx(2 * 2.7 * 30, rel=0.01)
    assert abs(angle) < 0.1
    assert recropped(np.array([[[50.0, 60.0], [50.0, 90.0]]]))[0] == pytest.approx(
        [50, 60 - 0.1 * 60, 60, 0]
    )


# --- the detector -------------------------------------------------------------------------------


def answers(*people):
    """Outputs of the detector with people (anchor, score, x, y offsets of the face)."""
    outputs = np.zeros((blazepose.NUM_ANCHORS, 12), np.float32)
    logits = np.full(blazepose.NUM_ANCHORS, -20, np.float32)
    for anchor, score, x, y in people:
        outputs[anchor] = [x, y, 20, 20, *(x, y + 30), *(x, y - 20), *(x, y + 10), *(x, y - 15)]
        logits[anchor] = np.log(score / (1 - score))
    return outputs, logits


def test_anchors_are_centres_of_cells():
    anchors = blazepose.anchors()
    assert anchors.shape == (blazepose.NUM_ANCHORS, 2)
    np.testing.assert_allclose(anchors[:3] * 224, [[4, 4], [4, 4], [12, 4]])
    np.testing.assert_allclose(anchors[-1] * 224, [208, 208])


def test_a_find_is_in_pixels_of_the_picture():
    """A picture twice as wide as high lies in the middle of the square."""
    anchor = 2 * (14 * 28 + 14)  # of the first grid: 116, 116 of 224
    found = blazepose.found_in(*answers((anchor, 0.9, 0, 0)), (448, 224))

    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-5)
    np.testing.assert_allclose(found.faces, [[212, 100, 252, 140]], atol=1e-4)
    np.testing.assert_allclose(found.points[0, :2], [[232, 180], [232, 80]], atol=1e-4)


def test_finds_that_overlap_are_one_mean():
    anchor = 2 * (14 * 28 + 14)
    both = answers((anchor, 0.9, 0, 0), (anchor + 1, 0.6, 5, 0), (0, 0.7, 0, 0), (4, 0.3, 0, 0))
    found = blazepose.found_in(*both, (224, 224))

    np.testing.assert_allclose(found.scores, [0.9, 0.7], rtol=1e-5)  # 0.3 is too little
    np.testing.assert_allclose(found.points[0, 0], [116 + 5 * 0.6 / 1.5, 146], atol=1e-4)


def test_nobody():
    found = blazepose.found_in(*answers(), (640, 480))
    assert [part.shape for part in found] == [(0,), (0, 4), (0, 4, 2)]


# --- landmarks ----------------------------------------------------------------------------------


def test_heatmaps_that_are_sure_refine_points():
    outputs = np.zeros((1, 39, 5), np.float32)
    outputs[..., :2] = 128
    outputs[0, :, 3], outputs[0, :, 4] = 2, -2
    heatmaps = np.full((1, 64, 64, 39), -20, np.float32)
    heatmaps[0, 33, 34, 0] = 5  # two cells to the right, one down: sure
    heatmaps[0, 33, 34, 1] = -1  # unsure
    heatmaps[0, 50, 50, 2] = 5  # too far
    region = np.array([[128.0, 128.0, 256.0, 0.0]])

    found = blazepose.landmarks_of(
        outputs.reshape(1, 195), np.array([[0.8]], np.float32), heatmaps, region
    )

    np.testing.assert_allclose(found.points[0, :4].round(2), [[136, 132], *[[128, 128]] * 3])
    np.testing.assert_allclose(found.visibility[0, 0], 1 / (1 + np.exp(-2)), rtol=1e-6)
    np.testing.assert_allclose(found.presence[0, 0], 1 / (1 + np.exp(2)), rtol=1e-6)
    np.testing.assert_allclose(found.flags, [0.8], rtol=1e-6)


def landmarks(points, visibility=1.0):
    count = len(points)
    return Landmarks(
        points=points,
        visibility=np.full((count, 33), visibility),
        presence=np.full((count, 33), 0.9),
        flags=np.ones(count),
        circles=np.zeros((count, 2, 2)),
    )


def test_points_in_openposes_order():
    points = np.stack([np.arange(33.0), np.arange(33.0)], -1)[None]
    hands = np.arange(84.0).reshape(1, 2, 21, 2)

    found, scores = blazepose.to_openpose(
        landmarks(points), hands, np.array([[0.8, 0.0]]), (100, 100)
    )

    body = dict(zip(BODY_JOINTS, found[0, BODY, 0], strict=True))
    assert (body["nose"], body["neck"], body["right_wrist"], body["left_wrist"]) == (
        0,
        11.5,
        16,
        15,
    )
    assert (body["right_ankle"], body["right_eye"], body["left_ear"]) == (28, 5, 7)
    np.testing.assert_allclose(scores[0, BODY], 0.9)
    face = {k: x for k, x in enumerate(found[0, FACE, 0]) if scores[0, FACE][k] > 0}
    # tip of the nose, outer and inner corners of the right and left eye, corners of the mouth
    assert face == {30: 0, 36: 6, 39: 4, 42: 1, 45: 3, 48: 10, 54: 9}
    assert (scores[0, LEFT_HAND].min(), scores[0, RIGHT_HAND].max()) == (np.float32(0.8), 0)
    np.testing.assert_array_equal(found[0, LEFT_HAND], hands[0, 0])


def test_points_outside_the_picture_are_absent():
    points = np.full((1, 33, 2), 50.0)
    points[0, 27] = (50, 100)  # the left ankle, one pixel below
    points[0, 0] = (-0.5, 3)

    found, scores = blazepose.to_openpose(
        landmarks(points), np.zeros((1, 2, 21, 2)), np.zeros((1, 2)), (100, 100)
    )

    absent = [name for name, s in zip(BODY_JOINTS, scores[0, BODY], strict=True) if s == 0]
    assert absent == ["nose", "left_ankle"]
    assert not found[0, BODY.start].any()


# --- circles ------------------------------------------------------------------------------------


def test_still_bodies_stay_and_noise_is_damped():
    rng = np.random.default_rng(0)
    body = np.array([[[100.0, 100.0], [100.0, 50.0]]])
    circles = Circles.begun(body)
    for _ in range(30):
        circles = circles.moved(body + rng.normal(0, 0.5, body.shape))
    assert abs(circles.steady - body).max() < 0.5
    for _ in range(30):
        circles = circles.moved(circles.measured + 10)
    assert abs(circles.steady - circles.measured).max() < 10  # it follows within a frame
    again = Circles.unpacked(circles.packed())
    np.testing.assert_array_equal(again.speeds, circles.speeds)
