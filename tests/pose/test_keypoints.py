"""Keypoints: reading, writing, slicing, resizing, and one-line errors that say what to do."""

import dataclasses
import json

import numpy as np
import pytest

from aa_jax.pose.keypoints import BODY_JOINTS, BODY_LIMBS, HAND_BONES, Keypoints, KeypointsError


@pytest.fixture
def walking():
    rng = np.random.default_rng(0)
    return Keypoints(
        body=rng.uniform(0, 100, (5, 18, 2)),
        body_scores=np.ones((5, 18)),
        width=100,
        height=200,
        fps=12,
    )


def _person(x=10.0, score=1.0, joints=18, **more):
    return {"pose_keypoints_2d": [x, 20.0, score] * joints, **more}


def _assert_equal(first, second):
    for name in ("body", "body_scores", "hands", "hand_scores", "face", "face_scores"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.width, first.height, first.fps) == (second.width, second.height, second.fps)


def test_order_of_joints_and_bones():
    assert len(BODY_JOINTS) == 18
    assert len(BODY_LIMBS) == 17
    assert [BODY_JOINTS[j] for j in (0, 1, 4, 7, 14, 17)] == [
        "nose",
        "neck",
        "right_wrist",
        "left_wrist",
        "right_eye",
        "left_ear",
    ]
    assert HAND_BONES[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5))
    assert HAND_BONES[-1] == (19, 20)


def test_absent_parts_are_zeros(walking):
    assert walking.hands.shape == (5, 2, 21, 2)
    assert walking.face.shape == (5, 68, 2)
    assert not walking.hand_scores.any()
    assert not walking.face_scores.any()
    assert walking.body.dtype == np.float32


def test_saving_and_loading(walking, tmp_path):
    walking.save(tmp_path / "new" / "walk.npz")

    _assert_equal(Keypoints.load(tmp_path / "new" / "walk.npz"), walking)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["walk.npz"]


@pytest.mark.parametrize("name", ["walk.json", "walk"])
def test_openpose_round_trip(walking, tmp_path, name):
    rng = np.random.default_rng(1)
    walking = dataclasses.replace(
        walking,
        hands=rng.uniform(0, 100, (5, 2, 21, 2)),
        hand_scores=rng.uniform(0.1, 1, (5, 2, 21)),
        face=rng.uniform(0, 100, (5, 68, 2)),
        face_scores=rng.uniform(0.1, 1, (5, 68)),
    )
    walking.body_scores[2] = walking.hand_scores[2] = walking.face_scores[2] = 0
    walking.body[2] = walking.hands[2] = walking.face[2] = 0  # nobody

    walking.save(tmp_path / name)
    found = Keypoints.load(tmp_path / name)

    for field in ("body", "body_scores", "hands", "hand_scores", "face", "face_scores"):
        np.testing.assert_allclose(getattr(found, field), getattr(walking, field), atol=1e-4)
    assert (found.width, found.height, found.fps) == (100, 200, 12)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "walk":
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        assert files == [f"{t:06d}_keypoints.json" for t in range(5)]
        assert json.loads((tmp_path / name / files[2]).read_text())["people"] == []


def test_unknown_kind_of_file_is_not_written(walking, tmp_path):
    with pytest.raises(KeypointsError, match=r"walk\.csv: keypoints are written as"):
        walking.save(tmp_path / "walk.csv")
    assert not list(tmp_path.iterdir())


def test_points_given_as_fractions_of_the_canvas(tmp_path):
    person = {"pose_keypoints_2d": [0.5, 0.25, 1.0] * 17 + [1.2, -0.1, 1.0]}
    content = {"people": [person], "canvas_width": 64, "canvas_height": 48}
    (tmp_path / "a.json").write_text(json.dumps(content))

    body = Keypoints.load(tmp_path / "a.json").body[0]

    np.testing.assert_allclose(body[0], [32, 12])
    np.testing.assert_allclose(body[17], [76.8, -4.8], rtol=1e-6)


def test_slices_and_lists_of_frames(walking):
    assert len(walking[1:3]) == 2
    np.testing.assert_array_equal(walking[[4, 0]].body, walking.body[[4, 0]])
    with pytest.raises(TypeError):
        walking[0]


def test_resizing(walking):
    resized = walking.resized(50, 400)

    assert (resized.width, resized.height) == (50, 400)
    np.testing.assert_allclose(resized.body, walking.body * [0.5, 2.0], rtol=1e-6)


def test_points_that_are_no_numbers_are_absent():
    body = np.ones((1, 18, 2))
    body[0, 3, 1] = np.nan

    keypoints = Keypoints(body=body, body_scores=np.ones((1, 18)), width=9, height=9, fps=1)

    assert keypoints.body_scores[0, 3] == 0
    assert np.isfinite(keypoints.body).all()


def test_folder_of_openpose_files(tmp_path):
    for frame, people in enumerate([[_person(x=1.0)], [], [_person(x=3.0)]]):
        path = tmp_path / f"clip_{frame:03d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))

    keypoints = Keypoints.load(tmp_path, width=64, height=48, fps=25)

    assert len(keypoints) == 3
    assert (keypoints.width, keypoints.height, keypoints.fps) == (64, 48, 25)
    np.testing.assert_array_equal(keypoints.body[:, 0, 0], [1, 0, 3])
    np.testing.assert_array_equal(keypoints.body_scores[:, 0], [1, 0, 1])


def test_one_json_with_many_frames_takes_the_best_person(tmp_path):
    hand = {"hand_left_keypoints_2d": [5.0, 6.0, 0.5] * 21, "hand_right_keypoints_2d": None}
    people = [_person(x=1.0, score=0.4), _person(x=2.0, score=0.9, **hand)]
    frames = [{"people": people, "canvas_width": 64, "canvas_height": 48}] * 2
    (tmp_path / "list.json").write_text(json.dumps(frames))
    (tmp_path / "head.json").write_text(
        json.dumps({"width": 64, "height": 48, "fps": 12, "frames": [{"people": people}] * 2})
    )

    for name, fps in (("list.json", 30), ("head.json", 12)):
        keypoints = Keypoints.load(tmp_path / name)
        assert (len(keypoints), keypoints.width, keypoints.fps) == (2, 64, fps)
        assert (keypoints.body[..., 0] == 2).all()
        assert (keypoints.hand_scores[:, 0] == 0.5).all()
        assert not keypoints.hand_scores[:, 1].any()


def test_25_joints_become_18(tmp_path):
    person = {"pose_keypoints_2d": [v for j in range(25) for v in (j, 0, 1)]}
    content = {"people": [person], "canvas_width": 64, "canvas_height": 64}
    (tmp_path / "body25.json").write_text(json.dumps(content))

    body = Keypoints.load(tmp_path / "body25.json").body[0, :, 0]

    assert body.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


SIZE = {"canvas_width": 64, "canvas_height": 64}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.npz", None, "no such file"),
        ("broken.npz", b"PK\x03\x04 cut off", "not a readable .npz"),
        ("empty.npz", b"", "not a readable .npz"),
        ("clip.mp4", b"", "unknown kind"),
        ("broken.json", b"{", "not readable JSON"),
        ("nobody.json", {"people": [], **SIZE}, "no poses"),
        ("nothing.json", [], "holds no frames"),
        ("number.json", 3, "found a number, which is no poses"),
        ("people.json", {"persons": [], **SIZE}, "'people'"),
        ("size.json", {"people": [_person()]}, "canvas_width"),
        ("19.json", {"people": [_person(joints=19)], **SIZE}, "'pose_keypoints_2d'"),
        ("words.json", {"people": [{"pose_keypoints_2d": ["a"]}], **SIZE}, "'pose_keypoints_2d'"),
        ("wide.json", {"people": [_person()], "width": "wide", "height": 4}, "'width'"),
    ],
)
def test_errors_are_one_line_and_name_file_and_field(name, content, words, tmp_path):
    if content is not None:
        _write(tmp_path / name, content)

    with pytest.raises(KeypointsError) as caught:
        Keypoints.load(tmp_path / name)

    message = str(caught.value)
    assert message.startswith(str(tmp_path / name))
    assert words in message
    assert "\n" not in message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"body": np.zeros((5, 17, 2))}, "'body' must have shape [frames, 18, 2]"),
        ({"body_scores": np.zeros((4, 18))}, "'body_scores' must have shape [frames, 18]"),
        ({"width": 0}, "'width' must be a number above 0"),
        ({"fps": float("nan")}, "'fps' must be a number above 0"),
        ({"hands": None}, None),
    ],
)
def test_npz_with_wrong_arrays(change, words, walking, tmp_path):
    arrays = {name: getattr(walking, name) for name in ("body", "body_scores", "width", "height")}
    arrays = {**arrays, "fps": 12, **change}
    np.savez(tmp_path / "x.npz", **{k: v for k, v in arrays.items() if v is not None})

    if words is None:  # hands may be left out
        assert len(Keypoints.load(tmp_path / "x.npz")) == 5
        return
    with pytest.raises(KeypointsError, match=r"x\.npz") as caught:
        Keypoints.load(tmp_path / "x.npz")
    assert words in str(caught.value)


def test_npz_without_a_field_and_npy_in_disguise(walking, tmp_path):
    np.savez(tmp_path / "x.npz", body=walking.body)
    with pytest.raises(KeypointsError, match="field 'body_scores' is missing"):
        Keypoints.load(tmp_path / "x.npz")

    with (tmp_path / "y.npz").open("wb") as file:
        np.save(file, walking.body)
    with pytest.raises(KeypointsError, match="not a readable"):
        Keypoints.load(tmp_path / "y.npz")


def test_bytes_flipped_in_an_npz(walking, tmp_path):
    walking.save(tmp_path / "x.npz")
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[80:120] = bytes(40)
    (tmp_path / "x.npz").write_bytes(content)

    with pytest.raises(KeypointsError, match="not a readable"):
        Keypoints.load(tmp_path / "x.npz")
