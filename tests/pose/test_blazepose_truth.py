"""BlazePose on real pictures and videos of people, beside mediapipe 0.10.21 itself.

The networks, and two videos, are fetched from the package index on the first run.
"""

import numpy as np
import pytest
from real_people import CLIPS, PICTURES, NotHere, frames_of, truth_of

from aa_jax.media.video import write_video
from aa_jax.pose import detection
from aa_jax.pose.blazepose_models import find_models
from aa_jax.pose.detection import DetectionError, detect_people, open_detector
from aa_jax.pose.keypoints import BODY_JOINTS
from aa_jax.pose.orders import HANDS

# BlazePose's point of every joint; the neck is made of two.
_BLAZEPOSE = [0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7]
COUNTED = [joint for joint, point in enumerate(_BLAZEPOSE) if point >= 0]


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert, of the extra pose")
    try:
        find_models()
    except DetectionError as error:
        pytest.skip(f"needs mediapipe==0.10.21 of the package index: {error}")
    return open_detector("blazepose")


def frames(name):
    try:
        return frames_of(name)
    except NotHere as error:
        pytest.skip(str(error))


def errors(name, detector):
    """Distances, in pixels at 640 on the longer side, of all visible joints, and of hands."""
    given = frames(name)
    height, width = given.shape[1:3]
    body, hands = truth_of(name)
    people = detector.stream()(given)
    keypoints = detection.Detections(tuple(people), width, height, 25.0).keypoints(track=True)
    scale = 640 / max(width, height)
    truth = body[:, [_BLAZEPOSE[joint] for joint in COUNTED]]
    inside = (truth[..., :2] >= 0).all(-1) & (truth[..., :2] < [width, height]).all(-1)
    visible = inside & (truth[..., 2] > 0.5)
    gaps = np.linalg.norm(keypoints.body[:, COUNTED] - truth[..., :2], axis=-1) * scale
    assert (keypoints.body_scores[:, COUNTED][visible] > 0.3).mean() > 0.98
    both = ~np.isnan(hands[..., 0]) & (keypoints.hand_scores > 0)
    hand_gaps = np.linalg.norm(keypoints.hands - hands[..., :2], axis=-1) * scale
    return gaps[visible], hand_gaps[both]


@pytest.mark.parametrize("name", ["astronaut", *CLIPS, *PICTURES])
def test_joints_are_where_mediapipe_sees_them(name, detector):
    body, hands = errors(name, detector)

    assert np.median(body) <= 2
    assert np.percentile(body, 95) <= 6
    if name == "messi":
        assert len(hands) == 42
    if len(hands):
        assert np.median(hands) <= 2.5


def test_numbers_do_not_depend_on_threads(detector):
    """However bodies, hands and frames are laid over threads, and a picture over several."""
    given = frames("messi")[[0] * 3]
    answers = []
    for threads in (1, 2, 4):
        stream = open_detector("blazepose", threads=threads).stream()
        answers.append(stream(given[:2]) + stream(given[2:]))
    assert (answers[0][-1].scores[:, HANDS] > 0).all()
    for other in answers[1:]:
        for first, second in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(first.points, second.points)
            np.testing.assert_array_equal(first.scores, second.scores)


def test_a_cat_and_grass_are_nobody(detector):
    from skimage import data

    pictures = [data.chelsea(), np.stack([data.grass()] * 3, -1)]
    assert [people.found for people in detector(pictures)] == [0, 0]


def test_two_people_and_small_ones_are_found(detector):
    astronaut = frames("astronaut")[0]
    wide = np.full((600, 1100, 3), 90, np.uint8)
    wide[40:552, 20:532] = astronaut
    wide[300:500, 800:1000] = astronaut[::2, ::2][:200, :200]

    (people,) = detector([wide])

    assert people.found == 2
    noses = people.points[:, BODY_JOINTS.index("nose")]
    np.testing.assert_allclose(sorted(noses[:, 0] > 600), [False, True])


def test_a_resumed_video_goes_on_as_if_it_had_not_stopped(detector, tmp_path):
    path = tmp_path / "phone.mp4"
    write_video(path, frames("cyclist")[:8], 25)
    whole = detect_people(path, detector, cache=tmp_path / "whole.npz")
    detect_people(path, detector, max_frames=5)
    told = []

    resumed = detect_people(path, detector, progress=lambda *done: told.append(done))

    assert told[0] == (5, 8)
    assert told[-1] == (8, 8)
    assert whole.people_found.tolist() == [1] * 8
    np.testing.assert_array_equal(resumed.keypoints().body, whole.keypoints().body)


def test_a_folder_of_phone_videos_becomes_a_dataset(detector, tmp_path, capsys):
    from aa_jax.data.preparation import cli

    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", frames("cyclist")[:8], 25)
    folders = [f"--videos={tmp_path / 'videos'}", f"--output={tmp_path / 'data'}"]

    rules = ["--min-frames=8", "--min-side=100"]
    assert cli.main([*folders, "--workers=0", "--detector=blazepose", *rules]) == 0

    assert "1 kept, 0 left out, 0 broken" in capsys.readouterr().out
