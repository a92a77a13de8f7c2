"""The numbers around DWPose's networks, step by step."""

import pathlib

import numpy as np
import pytest
from dwpose_models import answer_for, index_of

from aa_jax.pose import dwpose

GOLDEN = pathlib.Path(__file__).parent / "golden" / "skeleton" / "keypoints.npz"


def test_letterbox_is_upper_left_on_grey_114():
    picture = np.full((50, 100, 3), (10, 20, 30), np.uint8)

    pixels, scale = dwpose.letterbox(picture)

    assert pixels.shape == (3, 640, 640)
    assert pixels.dtype == np.float32
    assert scale == 6.4
    assert (pixels[:, :320] == np.array([10, 20, 30])[:, None, None]).all()
    assert (pixels[:, 320:] == 114).all()


def answers(rows):
    """8400 raw rows, empty but for `rows`: (box, stride, cell, person score, other score)."""
    output = np.zeros((8400, 85), np.float32)
    for box, stride, cell, person, other in rows:
        scores = np.zeros(80)
        scores[0], scores[7] = person, other
        output[index_of(cell, stride)] = answer_for(box, scores, stride=stride, cell=cell)
    return output


def test_boxes_of_all_three_grids_in_pixels_of_the_picture():
    boxes = [(10, 20, 110, 220), (200, 50, 300, 400), (400, 30, 600, 630)]
    rows = [(boxes[0], 8, (79, 3), 0.5, 0), (boxes[1], 16, (0, 39), 0.9, 0)]
    rows += [(boxes[2], 32, (19, 19), 0.7, 0)]

    found, scores = dwpose.person_boxes(answers(rows), scale=0.5)

    np.testing.assert_allclose(found, 2 * np.array([boxes[1], boxes[2], boxes[0]]), rtol=1e-4)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.5], rtol=1e-6)


def test_only_likely_people_are_found():
    box = (10, 20, 110, 220)
    likely, unlikely, truck = (0.31, 0.0), (0.29, 0.0), (0.0, 0.9)
    for (person, other), count in ((likely, 1), (unlikely, 0), (truck, 0)):
        output = answers([(box, 8, (1, 1), person, other)])
        assert len(dwpose.person_boxes(output, 1.0)[0]) == count
        output[:, 4] *= 0.9  # objectness
        assert len(dwpose.person_boxes(output, 1.0)[0]) == 0 or person == other


@pytest.mark.parametrize(("shift", "count"), [(30, 1), (45, 2)])
def test_boxes_that_overlap_by_more_than_045_are_one(shift, count):
    # shifted by s, boxes 100 wide share (101 - s) / (101 + s) of their union: 0.54 and 0.38
    rows = [((10, 10, 110, 210), 8, (1, 1), 0.6, 0)]
    rows += [((10 + shift, 10, 110 + shift, 210), 8, (2, 1), 0.8, 0)]

    found, scores = dwpose.person_boxes(answers(rows), 1.0)

    assert len(found) == count
    assert scores[0] == pytest.approx(0.8)


@pytest.mark.parametrize("box", [(100, 40, 140, 200), (20, 150, 220, 200)])
def test_crop_shows_the_padded_box_and_decoding_undoes_it(box):
    picture = np.zeros((260, 240, 3), np.uint8)
    x, y = 130, 170
    picture[y, x] = 255

    pixels, center, size = dwpose.crop_person(picture, np.array(box))

    x0, y0, x1, y1 = box
    assert size[0] / size[1] == 288 / 384
    assert max(size[0] / (x1 - x0), size[1] / (y1 - y0)) >= 1.25
    assert min(size[0] / (x1 - x0), size[1] / (y1 - y0)) == pytest.approx(1.25)
    black = (0 - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(pixels[:, 0, 0], black, rtol=1e-6)
    bright = np.unravel_index(pixels[1].argmax(), pixels[1].shape)
    x_scores, y_scores = np.zeros((1, 133, 576)), np.zeros((1, 133, 768))
    x_scores[..., 2 * bright[1]] = 0.8
    y_scores[..., 2 * bright[0]] = 0.6
    points, scores = dwpose.decode_simcc(x_scores, y_scores, center[None], size[None])
    np.testing.assert_allclose(points[0], np.broadcast_to([x, y], (133, 2)), atol=0.5)
    np.testing.assert_array_equal(scores, 0.6)


def bilinear(picture, corners, width, height):
    """Float64 crop [height, width, 3] of a box (x0, y0, x1, y1), black outside of the picture."""
    x0, y0, x1, y1 = corners
    x = np.clip(x0 + np.arange(width) * (x1 - x0) / width, -1, picture.shape[1]) + 1
    y = np.clip(y0 + np.arange(height) * (y1 - y0) / height, -1, picture.shape[0]) + 1
    padded = np.pad(picture.astype(np.float64), ((1, 2), (1, 2), (0, 0)))
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = (x - column)[:, None], (y - row)[:, None, None]
    rows = padded[row] * (1 - down) + padded[row + 1] * down
    return rows[:, column] * (1 - right) + rows[:, column + 1] * right


@pytest.mark.parametrize("box", [(20, 30, 141, 203), (10.5, 20.25, 230, 250)])
def test_a_crop_is_bilinear_with_every_opencv(box):
    """Noise, the worst there is: opencv 5.0.0 is exact (0.51 of 255 levels, from rounding), 4.12.0
    takes places at 32nds of a pixel (6.5). One 64th of a pixel each way may change 2 / 64 of 255.
    """
    picture = np.random.default_rng(0).integers(0, 256, (260, 240, 3), np.uint8)
    pixels, center, size = dwpose.crop_person(picture, np.array(box))
    levels = pixels.transpose(1, 2, 0) * [58.395, 57.12, 57.375] + [123.675, 116.28, 103.53]
    corners = np.concatenate([center - size / 2, center + size / 2])
    expected = bilinear(picture, corners, 288, 384)
    np.testing.assert_allclose(levels, expected, atol=2 / 64 * 255 + 0.6)
    assert np.abs(levels - expected).mean() < 1


def test_points_without_score_lie_at_bin_minus_one():
    scores = np.zeros((1, 133, 576)), np.zeros((1, 133, 768))
    center, size = np.array([[144.0, 192.0]]), np.array([[288.0, 384.0]])

    points, score = dwpose.decode_simcc(*scores, center, size)

    assert not score.any()
    np.testing.assert_allclose(points, -0.5)


def test_order_of_points_equals_moores():
    with np.load(GOLDEN) as file:
        points, scores = dwpose.to_openpose(
            file["wholebody/in_keypoints133"], file["wholebody/in_scores133"]
        )
        np.testing.assert_array_equal(points, file["wholebody/out_keypoints134"])
        np.testing.assert_array_equal(scores, file["wholebody/out_scores134"])
