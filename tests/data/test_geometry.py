import numpy as np
import pytest

from aa_jax.data.geometry import centre_crop, crop_keypoints, crop_picture, nearest_size, shrunk
from aa_jax.pose.keypoints import Keypoints


@pytest.mark.parametrize(
    ("size", "wanted", "box"),
    [
        ((64, 64), (32, 32), (0, 0, 64, 64)),
        ((100, 64), (32, 32), (18, 0, 82, 64)),
        ((64, 100), (64, 32), (0, 34, 64, 66)),
        ((30, 20), (60, 60), (5, 0, 25, 20)),
    ],
)
def test_a_crop_is_the_largest_box_in_the_middle(size, wanted, box):
    assert centre_crop(size, wanted) == box


def test_a_picture_of_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    assert crop_picture(picture, (24, 16)) is picture


def test_keypoints_stay_on_what_they_mark():
    """A bright square around a joint: after any crop the joint is still in its middle."""
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[50:61, 90:101] = 255
    body = np.zeros((1, 18, 2))
    body[0, 0] = [95.5, 55.5]  # the square's middle, pixels being counted from their corner
    keypoints = Keypoints(body, np.ones((1, 18)), width=200, height=120, fps=24)
    for wanted in [(80, 80), (60, 120), (150, 60)]:
        cropped = crop_picture(picture, wanted)[..., 0].astype(float)
        moved = crop_keypoints(keypoints, wanted)
        y, x = (np.mgrid[: wanted[1], : wanted[0]] + 0.5).reshape(2, -1)
        middle = [np.average(axis, weights=cropped.ravel()) for axis in (x, y)]
        assert (moved.width, moved.height) == wanted
        np.testing.assert_allclose(moved.body[0, 0], middle, atol=0.05)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (640, 480)), ((7680, 4320), (1366, 768)), ((1080, 1921), (768, 1366))],
)
def test_large_frames_shrink_to_the_shorter_side(size, expected):
    assert shrunk(size, 768) == expected


def test_every_clip_goes_to_the_nearest_aspect_ratio():
    sizes = [(64, 64), (48, 80), (80, 48)]
    assert [nearest_size(size, sizes) for size in [(100, 90), (9, 16), (16, 9)]] == [0, 1, 2]
