"""The world of puppets: deterministic, exact, and neither too easy nor too hard to animate."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from aa_jax.config import SkeletonConfig
from aa_jax.pose.drawing import draw_keypoints
from aa_jax.puppets.clips import PuppetClips, make_clip
from aa_jax.puppets.motion import FAMILIES
from aa_jax.puppets.patterns import PATTERNS, paint


def _psnr(square_error):
    return 10 * np.log10(255**2 / square_error)


def test_repeating_the_reference_is_neither_a_good_nor_a_hopeless_prediction():
    """64 evaluation characters at 64x64: frames 0..15 are predicted by frame 40."""
    region, frame, union, change = [], [], [], []
    for index in range(64):
        pictures, masks = make_clip("eval", 0, index).render([*range(16), 40], 64, 64)
        targets, reference = pictures[:16].astype(np.float64), pictures[16].astype(np.float64)
        error = ((targets - reference) ** 2).mean(-1)
        either = masks[:16] | masks[16]
        region += [_psnr(e[m].mean()) for e, m in zip(error, either, strict=True)]
        frame += list(_psnr(error.mean((1, 2))))
        union.append(either.mean())
        change.append(np.abs(np.diff(targets, axis=0)).mean())

    assert 13 < np.mean(region) < 16
    assert 20 < np.mean(frame) < 23.5
    assert 0.12 < np.mean(union) < 0.30
    assert np.mean(change) > 1
    assert np.min(change) > 0.5  # no character stands still


# The bundled weights were trained on this world, so it may not drift.
PINNED = [
    # family, pattern of the top, hair, background, right wrist and mean colour of frame 7
    ("dance", "rings", "beanie", "tiles", [11.53, 32.59], [146.2, 112.0, 162.6]),
    ("dance", "hearts", "beanie", "tiles", [13.42, 30.54], [120.8, 141.7, 135.3]),
    ("walk", "sailor_stripes", "bob", "blobs", [34.36, 40.34], [106.3, 138.0, 157.6]),
    ("walk", "checks", "bun", "blobs", [29.88, 43.61], [145.4, 161.8, 148.8]),
    ("dance", "vertical_stripes", "bun", "tiles", [11.05, 24.98], [168.9, 158.9, 123.3]),
]


@pytest.mark.parametrize("index", range(len(PINNED)))
def test_world_is_the_one_weights_were_trained_on(index):
    family, pattern, hair, background, wrist, color = PINNED[index]

    clip = make_clip("eval", 0, index)
    pictures, _ = clip.render([7], 64, 64)

    assert clip.motion.family == family
    assert clip.character.top.pattern == pattern
    assert clip.character.hair_style == hair
    assert clip.background.kind == background
    np.testing.assert_allclose(clip.keypoints([7], 64, 64).body[0, 4], wrist, atol=0.02)
    # Room for OpenCV versions that round differently.
    np.testing.assert_allclose(pictures.mean((0, 1, 2)), color, atol=0.5)


def test_the_same_numbers_make_the_same_clip():
    first, again = make_clip("train", 3, 7), make_clip("train", 3, 7)

    np.testing.assert_array_equal(first.render([0, 5], 64, 64)[0], again.render([0, 5], 64, 64)[0])
    np.testing.assert_array_equal(
        first.keypoints([0, 5], 64, 64).body, again.keypoints([0, 5], 64, 64).body
    )


def test_a_frame_does_not_depend_on_its_company():
    clip = make_clip("train", 0, 1)

    together, _ = clip.render([9, 2, 1000], 64, 64)
    alone, _ = make_clip("train", 0, 1).render([2], 64, 64)

    np.testing.assert_array_equal(together[1], alone[0])


def test_splits_seeds_and_indices_are_unrelated_streams():
    def traits(split, seed):
        characters = [make_clip(split, seed, index).character for index in range(50)]
        return {dataclasses.astuple(character.body) for character in characters}

    streams = [traits("train", 0), traits("eval", 0), traits("train", 1)]

    assert all(len(stream) == 50 for stream in streams)
    assert len(set.union(*streams)) == 150


def test_at_least_ten_patterns_all_different_and_all_worn():
    u = (np.arange(96, dtype=np.float32)[None] - 48) / 12
    v = np.arange(96, dtype=np.float32)[:, None] / 12
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.float32)
    pieces = {name: paint(name, u, v, colors) for name in PATTERNS}
    worn = {make_clip("train", 0, index).character.top.pattern for index in range(200)}

    assert len(PATTERNS) >= 10
    assert worn == set(PATTERNS)
    assert len({piece.tobytes() for piece in pieces.values()}) == len(PATTERNS)
    for name, piece in pieces.items():
        assert piece.std() > 20, name


def test_every_family_of_motion_occurs():
    assert {make_clip("train", 0, index).motion.family for index in range(50)} == set(FAMILIES)


def test_keypoints_lie_on_the_character_and_inside_the_picture():
    for index in range(20):
        clip = make_clip("eval", 0, index)
        frames = [0, 11, 23]
        _, masks = clip.render(frames, 256, 256)
        keypoints = clip.keypoints(frames, 256, 256)
        assert (keypoints.body_scores == 1).all()
        for mask, points in zip(masks, keypoints.body.astype(int), strict=True):
            assert mask[points[:, 1], points[:, 0]].all()


def test_characters_stay_inside_the_picture_for_ever():
    for index in range(60):
        keypoints = make_clip("train", 0, index).keypoints(range(0, 500, 3), 100, 100, hands=True)
        for points in (keypoints.body, keypoints.hands):
            assert points.min() > 0.5
            assert points.max() < 99.5


def test_hands_are_optional_and_hang_on_the_wrists():
    clip = make_clip("train", 0, 0)

    without, keypoints = clip.keypoints([3], 64, 64), clip.keypoints([3], 64, 64, hands=True)

    assert not without.hand_scores.any()
    assert keypoints.hand_scores.all()
    np.testing.assert_array_equal(keypoints.hands[:, 0, 0], keypoints.body[:, 7])  # left wrist
    np.testing.assert_array_equal(keypoints.hands[:, 1, 0], keypoints.body[:, 4])  # right wrist


def test_masks_cover_what_moves_and_the_background_stands_still():
    clip = make_clip("train", 0, 2)
    pictures, masks = clip.render(range(0, 40, 4), 64, 64)

    # One pixel around the masks may be mixed with the character's edge.
    seen = np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) for mask in masks]) > 0
    for picture, mask in zip(pictures, seen, strict=True):
        still = ~mask & ~seen[0]
        np.testing.assert_array_equal(picture[still], pictures[0][still])


def test_motion_is_smooth():
    body = make_clip("train", 0, 3).keypoints(range(60), 64, 64).body
    step = np.abs(np.diff(body, axis=0)).max()
    bend = np.abs(np.diff(body, n=2, axis=0)).max()

    assert step < 8
    assert bend < 4


def test_resolution_does_not_change_the_picture():
    for index in range(8):
        clip = make_clip("eval", 0, index)
        small, _ = clip.render([0, 9], 64, 64)
        large, _ = clip.render([0, 9], 128, 128)

        shrunk = np.stack([cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA) for p in large])

        # Edges and thin lines fall on other pixels of the finer canvas; shapes do not move.
        error = (shrunk.astype(np.float64) - small) ** 2
        assert _psnr(error.mean()) > 32
        np.testing.assert_allclose(
            clip.keypoints([0], 128, 128).body, 2 * clip.keypoints([0], 64, 64).body, rtol=1e-5
        )


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96)])
def test_other_shapes_show_the_whole_character_in_the_middle(width, height):
    clip = make_clip("train", 0, 4)

    pictures, masks = clip.render([0], width, height)
    _, square_mask = clip.render([0], 64, 64)

    assert pictures.shape == (1, height, width, 3)
    assert masks.shape == (1, height, width)
    top, left = (height - 64) // 2, (width - 64) // 2
    inner = masks[:, top : top + 64, left : left + 64]
    np.testing.assert_array_equal(inner, square_mask)
    assert masks.sum() == inner.sum()
    body = clip.keypoints([0], width, height).body - clip.keypoints([0], 64, 64).body
    np.testing.assert_allclose(body, np.broadcast_to([left, top], body.shape), atol=1e-4)


def test_skeleton_is_legible_at_64_pixels():
    clip = make_clip("train", 0, 0)
    frames = range(0, 40, 8)
    style = SkeletonConfig(size=256, hands=False)

    skeleton = draw_keypoints(clip.keypoints(frames, 64, 64), 64, 64, style)
    _, masks = clip.render(frames, 64, 64)

    bright = skeleton.max(-1) > 60
    assert (bright.mean((1, 2)) > 0.015).all()
    assert (bright & masks).sum() > 0.95 * bright.sum()


def test_clips_are_a_random_access_source():
    clips = PuppetClips(split="train", seed=5, clips=10)

    assert len(clips) == 10
    assert clips[3].character == make_clip("train", 5, 3).character
    assert pickle.loads(pickle.dumps(clips)) == clips  # goes to worker processes
    with pytest.raises(IndexError):
        clips[10]
