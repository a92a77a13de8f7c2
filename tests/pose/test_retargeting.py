"""Properties of retargeting, on random figures whose bones are known."""

import dataclasses
import json

import numpy as np
import pytest
from stick_figures import TYPICAL, limb_lengths, moving_figure, random_proportions

from aa_jax.pose.keypoints import KeypointsError
from aa_jax.pose.retargeting import retarget
from aa_jax.puppets.clips import make_clip

SEEDS = range(5)
PARTS = ("body", "hands", "face")


def assert_same_points(first, second, atol=1e-3):
    for name in PARTS:
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=atol)


def with_points(keypoints, change, **fields):
    points = {name: change(getattr(keypoints, name)) for name in PARTS}
    return dataclasses.replace(keypoints, **points, **fields)


def without(keypoints, joints, frames=slice(None)):
    scores = keypoints.body_scores.copy()
    scores[frames, joints] = 0
    return dataclasses.replace(keypoints, body_scores=scores)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("anchor", ["auto", "neck", "ground"])
@pytest.mark.parametrize("method", ["bones", "affine"])
def test_retargeting_to_itself_is_the_identity(seed, anchor, method):
    rng = np.random.default_rng(seed)
    clip = moving_figure(rng, 20, random_proportions(rng))
    one = seed * 4  # any frame may be the reference, or all of them

    for reference in (clip[one : one + 1], clip):
        result, report = retarget(clip, reference, anchor=anchor, method=method)
        assert_same_points(result, clip)
        assert report.scale == pytest.approx(1)
        assert all(bone.ratio == pytest.approx(1, abs=1e-4) for bone in report.bones)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("anchor", ["neck", "ground"])
def test_bones_get_the_lengths_of_the_reference(seed, anchor):
    rng = np.random.default_rng(seed)
    driver = moving_figure(rng, 20, random_proportions(rng))
    reference = moving_figure(rng, 1, random_proportions(rng), size=(300, 500))

    result, report = retarget(driver, reference, anchor=anchor)

    expected = np.broadcast_to(limb_lengths(reference), (20, 17))
    np.testing.assert_allclose(limb_lengths(result), expected, rtol=0.02)
    assert (result.width, result.height, result.fps) == (300, 500, 24)
    assert not any(bone.clamped for bone in report.bones)
    # and keep the driver's directions
    bones = np.diff(driver.body[:, [2, 3]], axis=1), np.diff(result.body[:, [2, 3]], axis=1)
    angles = [np.arctan2(bone[..., 1], bone[..., 0]) for bone in bones]
    np.testing.assert_allclose(*angles, atol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_robust_lengths_of_a_foreshortened_clip_are_those_of_the_reference(seed):
    rng = np.random.default_rng(seed)
    proportions = random_proportions(rng)
    driver = moving_figure(rng, 80, random_proportions(rng), foreshortening=0.6)
    reference = moving_figure(rng, 1, proportions)

    result, report = retarget(driver, reference)

    assert not any(bone.clamped for bone in report.bones)
    # right and left of a kind together, as a high quantile over the clip
    for limbs in ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (12,)):
        longest = np.quantile(limb_lengths(result)[:, limbs], 0.95)
        assert longest == pytest.approx(limb_lengths(reference)[0, limbs[0]], rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("anchor", ["neck", "ground"])
@pytest.mark.parametrize("method", ["bones", "affine"])
def test_scale_and_place_of_the_driver_change_nothing(seed, anchor, method):
    rng = np.random.default_rng(seed)
    driver = moving_figure(rng, 20, random_proportions(rng))
    reference = moving_figure(rng, 1, random_proportions(rng))
    factor, shift = rng.uniform(0.3, 3), rng.uniform(-200, 200, 2)
    moved = with_points(driver, lambda points: factor * points + shift, width=1000, height=900)

    first, _ = retarget(driver, reference, anchor=anchor, method=method)
    second, _ = retarget(moved, reference, anchor=anchor, method=method)

    assert_same_points(first, second, atol=5e-3)


@pytest.mark.parametrize("seed", range(40))
def test_never_a_nan_whatever_is_missing(seed):
    rng = np.random.default_rng(seed)
    clips = []
    for frames in (6, 1):
        clip = moving_figure(rng, frames, random_proportions(rng, 1.0))
        drop = rng.uniform(0, 1)
        clips.append(
            dataclasses.replace(
                clip,
                body_scores=np.where(rng.uniform(size=(frames, 18)) < drop, 0, 1),
                hand_scores=np.where(rng.uniform(size=(frames, 2, 21)) < drop, 0, 1),
                body=np.where(rng.uniform(size=(frames, 18, 1)) < drop / 3, 0, clip.body),
            )
        )
    for method in ("bones", "affine"):
        for anchor in ("auto", "neck", "ground"):
            result, report = retarget(*clips, anchor=anchor, method=method)
            for name in PARTS:
                assert np.isfinite(getattr(result, name)).all()
                assert np.abs(getattr(result, name)).max() < 1e5
            np.testing.assert_array_equal(result.body_scores, clips[0].body_scores)
            assert "nan" not in json.dumps(report.as_dict()).lower()
            assert str(report)


def test_nobody_and_nothing():
    clip = moving_figure(np.random.default_rng(0), 3)
    nobody = without(clip, slice(None))
    for driver, reference in ((clip, nobody), (nobody, clip), (nobody, nobody)):
        result, report = retarget(driver, reference)
        assert np.isfinite(result.body).all()
        assert report.fallback
        assert report.warnings
    with pytest.raises(KeypointsError, match="no frames"):
        retarget(clip[:0], clip)


def test_feet_stay_on_the_ground_where_legs_change_their_length():
    """The driver bends both knees; the character has legs of twice the length."""
    rng = np.random.default_rng(0)
    driver = moving_figure(rng, 1)[[0] * 9]
    body = driver.body.copy()
    body[:, [10, 13], 1] = 300
    for t in range(9):  # hips and all above go down, the feet stay
        body[t, [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 16, 17], 1] += 4 * t
    driver = dataclasses.replace(driver, body=body)
    lengths = {**TYPICAL, "thigh": 84.0, "shin": 80.0}
    reference = moving_figure(np.random.default_rng(0), 1, lengths)

    on_ground, report = retarget(driver, reference, anchor="ground")
    by_neck, _ = retarget(driver, reference, anchor="neck")

    def lowest(clip):
        return clip.body[:, [10, 13], 1].max(1)

    assert report.anchor == "ground"
    ground = lowest(reference)[0]
    np.testing.assert_allclose(lowest(on_ground), ground, atol=1e-3)
    assert np.ptp(lowest(by_neck)) > 10


def test_ground_is_kept_while_an_ankle_is_lost():
    rng = np.random.default_rng(1)
    driver = moving_figure(rng, 20, sway=20)
    reference = moving_figure(rng, 1, random_proportions(rng), sway=20)
    lost = without(driver, [10], slice(8, 11))

    whole, _ = retarget(driver, reference, anchor="ground")
    partial, report = retarget(lost, reference, anchor="ground")

    assert report.anchor == "ground"
    shown = np.delete(np.arange(18), 10)
    assert np.abs(whole.body - partial.body)[:, shown].max() < 3  # interpolated for three frames
    unchanged = np.delete(np.arange(20), [8, 9, 10])
    assert_same_points(whole[unchanged], partial[unchanged])


def test_the_clip_starts_from_the_frame_that_looks_like_the_reference():
    rng = np.random.default_rng(2)
    driver = moving_figure(rng, 20)
    reference = with_points(driver[7:8], lambda points: 1.5 * points + 30)

    result, report = retarget(driver, reference)

    assert report.driver_frame == 7
    assert_same_points(result[7:8], reference)
    np.testing.assert_allclose(
        result.body[:, 1] - result.body[7, 1], 1.5 * (driver.body[:, 1] - driver.body[7, 1]),
        atol=1e-3,
    )  # fmt: skip


def test_a_limb_missing_on_one_side_takes_the_length_of_the_other():
    rng = np.random.default_rng(3)
    driver = moving_figure(rng, 10)
    reference = moving_figure(rng, 1, {**TYPICAL, "forearm": 40.0})
    one_sided = without(reference, [7])  # the left wrist

    result, report = retarget(driver, one_sided)

    forearms = limb_lengths(result)[:, [3, 5]]
    np.testing.assert_allclose(forearms, 40, rtol=0.02)
    assert any("forearm: only the right one is seen" in line for line in report.warnings)


def test_a_limb_missing_on_both_sides_is_scaled_like_the_body():
    rng = np.random.default_rng(3)
    driver = moving_figure(rng, 10)
    half = {name: length / 2 for name, length in TYPICAL.items()}
    reference = without(moving_figure(rng, 1, half), [9, 10, 12, 13])  # cut off above the knees

    result, report = retarget(driver, reference)

    np.testing.assert_allclose(limb_lengths(result), limb_lengths(driver) / 2, rtol=1e-3)
    assert report.anchor == "neck"
    assumed = {bone.name for bone in report.bones if not bone.measured}
    assert assumed == {"thigh", "shin"}
    assert sum("scaled like the whole body" in line for line in report.warnings) == 2


def test_ratios_far_from_the_bodys_are_held_back_and_doubted():
    rng = np.random.default_rng(4)
    driver = moving_figure(rng, 10)
    reference = moving_figure(rng, 1, {**TYPICAL, "forearm": 2.0, "shoulder": 90.0})

    result, report = retarget(driver, reference, limit=2.0)

    np.testing.assert_allclose(limb_lengths(result)[:, 3], TYPICAL["forearm"] / 2, rtol=0.02)
    np.testing.assert_allclose(limb_lengths(result)[:, 0], 2 * TYPICAL["shoulder"], rtol=0.02)
    text = "\n".join(report.warnings)
    assert "forearm: 0.08 times the body's scale, held back at the limit" in text
    assert "camera in the reference?" in text
    assert "camera in the driving clip?" in text


def test_hands_are_scaled_and_hang_on_the_wrists():
    rng = np.random.default_rng(5)
    driver = moving_figure(rng, 10)
    reference = moving_figure(rng, 1, {**TYPICAL, "hand": 12.0, "forearm": 30.0})

    result, _ = retarget(driver, reference)

    for hand, wrist in enumerate((7, 4)):
        np.testing.assert_allclose(result.hands[:, hand, 0], result.body[:, wrist], atol=1e-3)
    fingers = result.hands[:, :, 8] - result.hands[:, :, 0]
    np.testing.assert_allclose(
        fingers, 2 * (driver.hands[:, :, 8] - driver.hands[:, :, 0]), rtol=0.02, atol=1e-2
    )


def test_a_hand_without_a_wrist_or_an_elbow_still_finds_its_place():
    rng = np.random.default_rng(5)
    driver = moving_figure(rng, 10)
    result, _ = retarget(without(driver, [3, 4]), driver[:1])

    np.testing.assert_allclose(result.hands, driver.hands, atol=1e-3)
    assert not result.body_scores[:, [3, 4]].any()


def test_too_few_bones_fall_back_to_the_whole_figure():
    rng = np.random.default_rng(6)
    driver = moving_figure(rng, 10)
    portrait = without(with_points(driver[:1], lambda points: 2 * points - 100), range(3, 14))

    result, report = retarget(driver, without(portrait, [14, 15, 16, 17]))

    assert report.method == "affine"
    assert report.fallback
    assert "scaled and shifted" in report.warnings[0]
    assert_same_points(result, with_points(driver, lambda points: 2 * points - 100))


def test_joints_outside_the_picture_are_reported():
    clip = moving_figure(np.random.default_rng(7), 10)
    small = dataclasses.replace(clip[:1], width=150)

    _, report = retarget(clip, small)

    assert report.outside > 0.5
    assert any("outside the reference picture" in line for line in report.warnings)


def test_report_is_a_table_and_json():
    rng = np.random.default_rng(8)
    _, report = retarget(moving_figure(rng, 10), moving_figure(rng, 1))

    lines = str(report).splitlines()
    assert len(lines) == 2 + 10
    assert lines[2].split()[0] == "shoulder"
    content = json.loads(json.dumps(report.as_dict()))
    assert [bone["name"] for bone in content["bones"]][-1] == "hand"
    assert content["warnings"] == []


def test_puppets_in_the_same_motion_are_the_ground_truth():
    """The right answer is known: the other puppet's body, moved by the driver's own curves."""
    before, after = [], []
    for index in range(12):
        driver, character = make_clip("train", 0, index), make_clip("train", 0, index + 100)
        truth = dataclasses.replace(character, motion=driver.motion)
        clips = [clip.keypoints(range(48), 256, 256) for clip in (driver, truth)]

        result, _ = retarget(clips[0], clips[1][:1])

        for errors, found in ((before, clips[0]), (after, result)):
            errors.append(np.linalg.norm(found.body - clips[1].body, axis=-1).mean())
    assert np.mean(before) > 8
    assert np.mean(after) < 2
    assert max(after) < 3
