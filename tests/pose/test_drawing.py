"""Skeleton pictures equal those of Moore-AnimateAnyone a914ef3 (DWPose's drawing code)."""

import dataclasses
import json
import pathlib

import cv2
import numpy as np
import pytest

from aa_jax.config import SkeletonConfig
from aa_jax.pose.drawing import (
    BODY_COLORS,
    HAND_BONE_COLORS,
    LIMB_COLORS,
    draw_keypoints,
    draw_skeleton,
)
from aa_jax.pose.keypoints import Keypoints

GOLDEN = pathlib.Path(__file__).parent / "golden" / "skeleton"
META = json.loads((GOLDEN / "meta.json").read_text())
ENTRIES = {entry["name"]: entry for entry in META["entries"]}
DRAWN = [name for name, entry in ENTRIES.items() if entry["kind"] == "draw_pose"]
DETECTED = [name for name, entry in ENTRIES.items() if entry["kind"] != "draw_pose"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "keypoints.npz") as file:
        return dict(file)


def _picture(name):
    return cv2.imread(str(GOLDEN / ENTRIES[name]["png"]))[..., ::-1]


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_equals_moore(name, arrays):
    candidate, subset = arrays[f"{name}/candidate"], arrays[f"{name}/subset"].astype(int)
    hands, faces = arrays[f"{name}/hands"], arrays[f"{name}/faces"]

    picture = draw_skeleton(
        candidate[np.maximum(subset, 0)],
        subset >= 0,
        hands,
        np.ones(hands.shape[:2], bool),
        faces,
        np.ones(faces.shape[:2], bool),
        width=ENTRIES[name]["W"],
        height=ENTRIES[name]["H"],
    )

    np.testing.assert_array_equal(picture, _picture(name))


@pytest.mark.parametrize("name", DETECTED)
def test_keypoints_with_scores_equal_the_detectors_picture(name, arrays):
    entry = ENTRIES[name]
    points, scores = arrays[f"{name}/keypoints"], arrays[f"{name}/scores"]
    best = scores[:, :18].mean(1).argmax()
    height, width = _multiples_of_64(entry["input_hw"], entry["detect_resolution"])
    parts = np.split(points[best], [18, 24, 92]), np.split(scores[best], [18, 24, 92])
    (body, _, face, hands), (body_scores, _, face_scores, hand_scores) = parts
    keypoints = Keypoints(
        body=body[None],
        body_scores=body_scores[None],
        width=width,
        height=height,
        fps=1,
        hands=hands.reshape(1, 2, 21, 2),
        hand_scores=hand_scores.reshape(1, 2, 21),
        face=face[None],
        face_scores=face_scores[None],
    )

    style = SkeletonConfig(size=min(width, height), hands=True, face=True, threshold=0.3)
    picture = draw_keypoints(keypoints, width, height, style)[0]
    # The detector always resizes with INTER_LINEAR; `draw_keypoints` would shrink by area.
    out_height, out_width = entry["output_hw"]
    picture = cv2.resize(picture, (out_width, out_height), interpolation=cv2.INTER_LINEAR)

    np.testing.assert_array_equal(picture, _picture(name))


def _multiples_of_64(size, shorter):
    scale = shorter / min(size)
    return [round(side * scale / 64) * 64 for side in size]


def test_hand_colors_equal_matplotlibs():
    np.testing.assert_allclose(HAND_BONE_COLORS, META["hand_edge_colors_float"], atol=1e-9)


@pytest.fixture
def standing():
    """Two frames of one person who fills a 100 x 200 picture."""
    rng = np.random.default_rng(0)
    return Keypoints(
        body=rng.uniform(20, 80, (2, 18, 2)) * [1, 2],
        body_scores=np.ones((2, 18)),
        width=100,
        height=200,
        fps=12,
        hands=rng.uniform(20, 80, (2, 2, 21, 2)),
        hand_scores=np.ones((2, 2, 21)),
        face=rng.uniform(20, 80, (2, 68, 2)),
        face_scores=np.ones((2, 68)),
    )


def test_hands_and_face_are_options(standing):
    body = draw_keypoints(standing, 64, 128, SkeletonConfig(size=256, hands=False))
    hands = draw_keypoints(standing, 64, 128, SkeletonConfig(size=256, hands=True))
    face = draw_keypoints(standing, 64, 128, SkeletonConfig(size=256, hands=False, face=True))

    assert body.shape == (2, 128, 64, 3)
    assert body.dtype == np.uint8
    assert not np.array_equal(body, hands)
    assert not np.array_equal(body, face)


def test_points_of_low_score_are_left_out(standing):
    style = SkeletonConfig(size=256, face=True, threshold=1.0)
    no_body = draw_keypoints(standing, 64, 128, style)  # body scores must exceed the threshold
    assert not (no_body == np.array(4 * [255])[:3] * [1, 0, 0]).all(-1).any()

    nothing = draw_keypoints(standing, 64, 128, SkeletonConfig(size=256, threshold=1.1, face=True))
    assert not nothing.any()


def test_confidence_darkens_the_colours(standing):
    plain = SkeletonConfig(size=128, face=True)
    weighted = dataclasses.replace(plain, confidence_colors=True)
    full = draw_keypoints(standing, 64, 128, plain)
    np.testing.assert_array_equal(draw_keypoints(standing, 64, 128, weighted), full)

    only_body = dataclasses.replace(standing, hand_scores=None, face_scores=None)
    half = dataclasses.replace(only_body, body_scores=np.full((2, 18), 0.5))
    style = dataclasses.replace(weighted, size=64)  # drawn at the size of the result
    bright = draw_keypoints(only_body, 64, 128, style).astype(int)
    dark = draw_keypoints(half, 64, 128, style)
    # joints at half their colour, limbs, of two ends, at a quarter
    colors = {tuple(color) for color in dark.reshape(-1, 3).tolist()} - {(0, 0, 0)}
    joints = {tuple(round(v * 0.5) for v in color) for color in BODY_COLORS}
    limbs = {tuple(round(v * 0.25) for v in color) for color in LIMB_COLORS}
    for color in colors:
        near = [np.abs(np.subtract(color, other)).max() <= 1 for other in joints | limbs]
        assert any(near), color
    np.testing.assert_array_equal(dark.any(-1), bright.any(-1))

    unsure = dataclasses.replace(
        standing,
        body_scores=np.zeros((2, 18)),
        hand_scores=np.full((2, 2, 21), 0.5),
        face_scores=np.full((2, 68), 0.4),
    )
    picture = draw_keypoints(unsure, 64, 128, dataclasses.replace(style, face=True))
    found = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert (0, 0, 128) in found or (0, 0, 127) in found  # hand joints
    assert (102, 102, 102) in found  # face


def test_size_of_the_picture_follows_the_size_asked_for(standing):
    style = SkeletonConfig(size=256, hands=False)
    small = draw_keypoints(standing, 64, 128, style)
    large = draw_keypoints(standing, 256, 512, style)

    shrunk = np.stack([cv2.resize(p, (64, 128), interpolation=cv2.INTER_AREA) for p in large])
    np.testing.assert_array_equal(small, shrunk)


@pytest.mark.parametrize("far", [1e20, -1e20])
def test_a_point_absurdly_far_outside_is_drawn_as_if_it_were_hidden(standing, far):
    style = SkeletonConfig(size=256, hands=False)
    elbow, scores = 3, np.ones((2, 18))
    whole = draw_keypoints(standing, 64, 128, style)
    scores[0, elbow] = 0
    hidden = draw_keypoints(dataclasses.replace(standing, body_scores=scores), 64, 128, style)
    standing.body[0, elbow] = far

    drawn = draw_keypoints(standing, 64, 128, style)

    np.testing.assert_array_equal(drawn, hidden)
    assert not np.array_equal(drawn[0], whole[0])
    np.testing.assert_array_equal(drawn[1], whole[1])
