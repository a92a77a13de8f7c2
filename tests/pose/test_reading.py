"""One reader for keypoint JSON of every tool: who is where, on which canvas, in which unit."""

import copy
import json

import numpy as np
import pose_files as tools
import pytest
from pose_files import BODY, CANVAS, COCO, EXAMPLES, FRAMES, NECK, flat

from aa_jax.pose.canvas import Canvas
from aa_jax.pose.keypoints import Keypoints, KeypointsError
from aa_jax.pose.orders import BODY as BODY_POINTS
from aa_jax.pose.orders import FACE, HANDS, LEFT_HAND, RIGHT_HAND
from aa_jax.pose.reading import read_people, read_poses

GUESS = Canvas(320, 480, "the video's", guessed=True)


@pytest.fixture
def read(tmp_path):
    """Reads JSON content; returns people per frame, and the lines reported."""

    def run(content, canvas=GUESS, **settings):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content))
        lines = []
        return read_people(path, canvas=canvas, report=lines.append, **settings), lines

    return run


def refused(read, content, **settings):
    with pytest.raises(KeypointsError) as caught:
        read(content, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_format_gives_the_same_body(name, read):
    people, _ = read(EXAMPLES[name])

    assert (people.width, people.height) == (320, 480)
    for t, frame in enumerate(people.frames):
        if name == "mmpose, predictions" and t == 1:
            assert len(frame.points) == 0
            continue
        expected = tools.body(t)
        if name not in _WITH_NECK:
            expected[NECK] = expected[[2, 5]].mean(0)
        np.testing.assert_allclose(frame.points[0, BODY_POINTS], expected, atol=2e-3)
        score = 1.0 if name == "coco, data set" else 0.9
        np.testing.assert_allclose(frame.scores[0, BODY_POINTS], score)
        assert frame.found == 1


_WITH_NECK = {name for name in EXAMPLES if not name.startswith(("mmpose", "coco", "alphapose"))}
_WITH_NECK |= {"alphapose, open", "alphapose, cmu"}


@pytest.mark.parametrize("name", ["whole", "mmpose, wholebody", "coco-wholebody"])
def test_hands_and_face(name, read):
    people, _ = read(EXAMPLES[name])

    points, scores = people.frames[0].points[0], people.frames[0].scores[0]
    np.testing.assert_allclose(points[LEFT_HAND], tools.hand(BODY[7]), atol=2e-3)
    np.testing.assert_allclose(points[RIGHT_HAND], tools.hand(BODY[4]), atol=2e-3)
    np.testing.assert_allclose(points[FACE], tools.face(), atol=2e-3)
    assert (scores[HANDS] > 0).all()


def test_what_a_format_lacks_is_not_invented(read):
    shoulderless = tools.result(0)
    shoulderless["keypoints"][3 * 5 + 2] = 0.0  # COCO's left shoulder

    people, _ = read([tools.result(0), tools.result(1)])
    assert not people.frames[0].scores[0, HANDS].any()
    assert not people.frames[0].scores[0, FACE].any()
    people, _ = read([shoulderless])
    assert people.frames[0].scores[0, NECK] == 0


def test_a_made_neck_has_the_smaller_score(read):
    row = tools.result(0)
    row["keypoints"][3 * 6 + 2] = 0.4

    assert read([row])[0].frames[0].scores[0, NECK] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("points", "neck"), [("halpe", (140, 130)), ("dwpose", (140, 130)), ("whole", (140, 132))]
)
def test_longer_orders_of_joints(points, neck, read):
    feet = np.full((6, 2), 470.0)
    orders = {
        "halpe": np.concatenate([BODY[COCO], [(140, 60), BODY[1], (140, 240)], feet]),
        "dwpose": np.concatenate(
            [BODY, feet, tools.face(), tools.hand((9, 9)), tools.hand((5, 5))]
        ),
        "whole": tools.whole_body(),
    }
    rows = [tools.alphapose("0.jpg", orders[points])]

    found = read(rows)[0].frames[0].points[0]
    np.testing.assert_allclose(found[NECK], neck)
    np.testing.assert_allclose(found[4], BODY[4])


def test_joints_in_another_order_are_told_by_their_names(read):
    content = copy.deepcopy(EXAMPLES["mmpose"])
    names = tools.COCO_NAMES[::-1]
    content["meta_info"]["keypoint_id2name"] = {str(i): name for i, name in enumerate(names)}
    content["instance_info"] = [{"frame_id": 1, "instances": [tools.instance(BODY[COCO][::-1])]}]

    np.testing.assert_allclose(read(content)[0].frames[0].points[0, 4], BODY[4])


def test_joints_of_somebody_else_are_named(read):
    content = copy.deepcopy(EXAMPLES["mmpose"])
    names = ["L_Eye", "R_Eye", "Nose", "Neck", "Root of tail", *"abcdefghijkl"]
    content["meta_info"]["keypoint_id2name"] = {str(i): name for i, name in enumerate(names)}

    assert "'L_Eye', 'R_Eye', 'Nose', ..., are not those of a person" in refused(read, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (3, "found a number, which is no poses; read are objects with 'people'"),
        ([], "holds no frames"),
        ({}, "found an empty object"),
        ({"persons": [], "b": 1}, "found an object with 'persons', 'b', which"),
        ([{"people": []}, {"landmarks": []}], "a list of 2, in it an object with 'landmarks'"),
        ({"people": {"a": 1}}, "frame 0: field 'people' is no list of people"),
        ({"people": ["a"]}, "frame 0: an entry of its people is no object"),
        ({"people": [{"pose3d": [1]}]}, "frame 0: a person has 'pose3d', but no"),
        ({"people": [{"pose_keypoints_2d": [1, 2, 3] * 33}]}, "'pose_keypoints_2d' must have x, y"),
        ({"people": [{"pose_keypoints_2d": [1, 2] * 18}]}, "so 51, 54, 75, 78, 399, 402, 408"),
        ({"people": [{"face_keypoints_2d": [1, 2, 3]}]}, "so 204, 210 numbers, got shape [3]"),
        ([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 16}], "each of its 16 scores"),
        ([{"image_id": [1], "keypoints": [1, 2, 3] * 17}], "must be whole or text, got [1]"),
        ({"people": [], "fps": -3}, "field 'fps' must be above 0"),
        ({"people": [], "canvas_width": -320, "canvas_height": 5}, "field 'canvas_width' must be"),
        ({"bodies": {"candidate": []}}, "field 'bodies' is no list"),
    ],
)  # fmt: skip
def test_unknown_content_is_one_line_that_names_what_was_found(content, words, read):
    assert words in refused(read, content)


def test_text_of_other_encodings(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_text(json.dumps(EXAMPLES["comfyui"]), encoding=encoding)
        assert len(Keypoints.load(tmp_path / "a.json")) == FRAMES


# --- frames -------------------------------------------------------------------------------------


def test_folder_in_the_order_people_count(tmp_path):
    for t in range(12):
        (tmp_path / f"{t}_keypoints.json").write_text(json.dumps(tools.frame(t, **CANVAS)))
    (tmp_path / "._3_keypoints.json").write_bytes(b"\0\5\26\7")
    (tmp_path / "settings.json").write_text("{}")

    body = Keypoints.load(tmp_path).body
    np.testing.assert_allclose(body[:, NECK, 0], 140 + 4 * np.arange(12))


def test_a_folder_of_clips_is_no_clip(tmp_path):
    for name in ("run", "walk"):
        (tmp_path / f"{name}.json").write_text(json.dumps(EXAMPLES["comfyui"]))
    with pytest.raises(KeypointsError, match=r"run\.json holds 4 frames; a folder has one per"):
        Keypoints.load(tmp_path)


@pytest.mark.parametrize("name", ["{}.jpg", "dance_v2_{:04d}.png", 0])
def test_frames_of_nobody_are_left_out_of_coco_results(name, read):
    """People in frames 0, 2 and 3 only; the list may be in any order."""
    ids = [name.format(t) if name else t for t in (3, 0, 2)]
    content = [tools.result(i, t) for i, t in zip(ids, (3, 0, 2), strict=True)]

    people, _ = read(content)
    assert [len(frame.points) for frame in people.frames] == [1, 0, 1, 1]
    np.testing.assert_allclose(people.frames[3].points[0, 0, 0], 152)
    assert len(read(content, frames=6)[0]) == 6  # a video says how many there are


def test_frames_counted_from_one_and_every_second_one(read):
    rows = [tools.result(t + 1, t) for t in range(5)]
    assert len(read(rows, frames=5)[0]) == 5
    rows = [tools.result(2 * t, t) for t in range(5)]
    assert len(read(rows)[0]) == 5
    assert "numbered from 0 to 8, the clip has 5" in refused(read, rows, frames=5)


def test_pictures_of_a_collection_are_no_clip(read):
    content = [tools.result(i) for i in (139, 285, 632, 581929)]
    assert "numbered from 139 to 581929, but people are in 4 only" in refused(read, content)


def test_several_people_in_a_frame_of_results(read):
    content = [tools.result(0), tools.result(0), tools.result(1)]
    assert read(content)[0].people_found.tolist() == [2, 1]


# --- canvas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 240), (160.0, 240.0), ("160", "240.0")])
def test_the_files_own_canvas_wins(size, read):
    content = [
        {
            "people": [{"pose_keypoints_2d": flat(BODY / 2)}],
            "canvas_width": size[0],
            "canvas_height": size[1],
        }
    ]
    for canvas in (GUESS, Canvas(320, 480, "--poses_size"), None):
        people, lines = read(content, canvas)
        assert (people.width, people.height) == (160, 240)
        np.testing.assert_allclose(people.frames[0].points[0, NECK], (70, 65))
        assert len(lines) == (canvas is not None and not canvas.guessed)
        assert all("160x240, is used, not --poses_size, 320x480" in line for line in lines)


def test_a_load_with_another_size_keeps_the_files_canvas(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(EXAMPLES["comfyui"]))
    found = Keypoints.load(tmp_path / "a.json", width=640, height=960).resized(640, 960)
    np.testing.assert_allclose(found.body[0, NECK], (280, 260))


def test_no_canvas_takes_the_given_or_warns_once(read):
    content = [tools.frame(t) for t in range(3)]

    people, lines = read(content, Canvas(640, 480, "--poses_size"))
    assert (people.width, people.height, lines) == (640, 480, [])
    people, lines = read(content, GUESS)
    assert (people.width, people.height) == (320, 480)
    assert len(lines) == 1
    assert "names no canvas; its points are taken as measured in the video's size," in lines[0]
    assert "--poses_size WIDTHxHEIGHT" in lines[0]
    assert "outside of which 100% of them lie" in read(content, Canvas(50, 50, "x", True))[1][0]
    assert "'canvas_width' and 'canvas_height' are missing" in refused(read, content, canvas=None)


def test_frames_on_canvases_of_different_sizes(read):
    half = {"people": [{"pose_keypoints_2d": flat(BODY / 2)}]}
    content = [tools.frame(0, **CANVAS), {**half, "canvas_width": 160, "canvas_height": 240}]

    people, _ = read(content)
    np.testing.assert_allclose(people.frames[1].points, people.frames[0].points, atol=1e-3)


# --- units --------------------------------------------------------------------------------------


def pose(body, **more):
    return {"people": [{"pose_keypoints_2d": flat(body), **more}], **CANVAS}


def test_body_in_fractions_and_hands_in_pixels(read):
    hand = tools.hand(BODY[7])
    content = [pose(BODY / [320, 480], hand_left_keypoints_2d=flat(hand))] * 2

    points = read(content)[0].frames[0].points[0]
    np.testing.assert_allclose(points[NECK], (140, 130), atol=0.5)
    np.testing.assert_allclose(points[LEFT_HAND], hand, atol=1e-3)
    content = [pose(BODY, hand_left_keypoints_2d=flat(hand / [320, 480]))]
    points = read(content)[0].frames[0].points[0]
    np.testing.assert_allclose(points[NECK], (140, 130), atol=1e-3)
    np.testing.assert_allclose(points[LEFT_HAND], hand, atol=0.5)


@pytest.mark.parametrize("far", [(5.0, 0.5), (900.0, 700.0), (-40.0, 3.0)])
def test_one_joint_far_out_decides_nothing(far, read):
    body = BODY / [320, 480]
    body[10] = far
    np.testing.assert_allclose(read(pose(body))[0].frames[0].points[0, NECK], (140, 130), atol=0.5)
    pixels = BODY.copy()
    pixels[10] = (0.5, 1.0)
    np.testing.assert_allclose(read(pose(pixels))[0].frames[0].points[0, NECK], (140, 130))


def test_absent_points_at_a_corner_decide_nothing(read):
    for corner in (0.0, -1.0):
        body = np.full((18, 2), corner)
        body[:6] = BODY[:6]
        np.testing.assert_allclose(read(pose(body))[0].frames[0].points[0, NECK], (140, 130))


def test_units_that_cannot_be_told(read):
    mixed = [pose(BODY), pose(BODY / [320, 480])]
    assert "cannot tell the unit of the body: 50% of its points" in refused(read, mixed)
    centred = pose(2 * BODY / [320, 480] - 1)
    assert "--keypoint_scale 0, fractions with 3" in refused(read, centred)


# --- who is a person ----------------------------------------------------------------------------


def test_weak_joints_are_nobody(read):
    ghost = np.zeros((18, 3))
    ghost[0] = 300, 20, 0.06
    person = {"pose_keypoints_2d": ghost.ravel().tolist()}
    content = [{"people": [tools.person(t), person], **CANVAS} for t in range(3)]

    people, _ = read(content)
    assert people.people_found.tolist() == [1, 1, 1]
    assert read(content, threshold=0.05)[0].people_found.tolist() == [2, 2, 2]
    np.testing.assert_allclose(people.keypoints().body[0, NECK], (140, 130))


@pytest.mark.parametrize("nothing", [None, [], [None] * 54])
def test_a_person_without_a_body_is_no_error(nothing, read):
    hand = tools.hand(BODY[7])
    content = [tools.frame(t, **CANVAS) for t in range(3)]
    content[1]["people"][0].update(
        pose_keypoints_2d=nothing, hand_left_keypoints_2d=flat(hand), person_id=[-1]
    )
    content[2]["people"].append(None)

    people, _ = read(content)
    assert people.people_found.tolist() == [1, 0, 1]
    np.testing.assert_allclose(people.keypoints().hands[1, 0], hand, atol=1e-3)
    assert not people.keypoints().body_scores[1].any()


def test_one_person_is_followed_through_a_clip(tmp_path):
    """The scores of two people alternate."""
    content = [
        {
            "people": [
                {"pose_keypoints_2d": flat(tools.body(0, (shift, 0)), score)}
                for shift, score in zip((0, 320), ((0.9, 0.8), (0.8, 0.9))[t % 2], strict=True)
            ],
            "canvas_width": 640,
            "canvas_height": 480,
        }
        for t in range(8)
    ]
    (tmp_path / "two.json").write_text(json.dumps(content))

    best = Keypoints.load(tmp_path / "two.json").body[:, NECK, 0]
    tracked = Keypoints.load(tmp_path / "two.json", track=True).body[:, NECK, 0]
    assert np.ptp(best) == 320
    assert np.ptp(tracked) == 0
    assert read_poses(tmp_path / "two.json", most_frames=3).people.tolist() == [2, 2, 2]
