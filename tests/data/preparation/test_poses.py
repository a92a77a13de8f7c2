"""Given keypoints: whose canvas counts, who is a person, and flags that do nothing."""

import json

import numpy as np
import pose_files as tools
import pytest

from aa_jax.data.preparation import cli
from aa_jax.data.preparation.layouts import Source
from aa_jax.data.preparation.poses import given_poses
from aa_jax.media.video import VideoScan

FRAMES = 6


@pytest.fixture
def given(tmp_path):
    """Reads JSON content as the keypoints of a video of 320 x 480."""

    def run(content, **settings):
        (tmp_path / "walk.json").write_text(json.dumps(content))
        times = np.arange(FRAMES) / 25
        scan = VideoScan(
            width=320, height=480, rotation=0, times=times, fps=25.0, variable=False
        )  # fmt: skip
        source = Source("train", "walk.mp4", tmp_path / "walk.mp4")
        return given_poses(tmp_path, source, scan, **settings)

    return run


def test_the_files_canvas_counts_and_the_video_rate(given):
    half = {"people": [{"pose_keypoints_2d": tools.flat(tools.BODY / 2)}]}
    content = [{**half, "canvas_width": 160, "canvas_height": 240}] * FRAMES

    (keypoints, people), notes = given(content)
    assert (keypoints.width, keypoints.height, keypoints.fps) == (320, 480, 25)
    np.testing.assert_allclose(keypoints.body[0, tools.NECK], (140, 130))
    assert people.tolist() == [1] * FRAMES
    assert notes == ()


def test_no_canvas(given):
    content = [tools.frame(t) for t in range(FRAMES)]

    (keypoints, _), notes = given(content)
    np.testing.assert_allclose(keypoints.body[0, tools.NECK], (140, 130))
    assert len(notes) == 1
    assert "names no canvas" in notes[0]
    (keypoints, _), notes = given(content, size=(640, 960))
    np.testing.assert_allclose(keypoints.body[0, tools.NECK], (70, 65))
    assert notes == ()


def test_ghosts_and_hands_alone_are_nobody(given):
    content = [tools.frame(t, **tools.CANVAS) for t in range(FRAMES)]
    for frame in content:
        frame["people"].append({"pose_keypoints_2d": [300, 20, 0.06] + [0] * 51})
    hand = tools.flat(tools.hand((9, 9)))
    content[5]["people"][0].update(pose_keypoints_2d=None, hand_left_keypoints_2d=hand)

    assert given(content)[0].people.tolist() == [1, 1, 1, 1, 1, 0]


def test_frames_that_results_leave_out(given):
    content = [tools.alphapose(f"{t}.jpg", tools.body(t)[tools.COCO], t) for t in (0, 1, 3)]
    assert given(content)[0].people.tolist() == [1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--keypoints-from=.", "--dwpose=x"), "--dwpose has no effect with --keypoints-from"),
        (("--keypoints-from=.", "--provider=cpu"), "--provider has no effect with"),
        (("--keypoints-from=.", "--detector=auto"), "--detector has no effect with"),
        (("--keypoints-from=.", "--pose-models=x"), "--pose-models has no effect with"),
        (("--dwpose=x", "--pose-models=y"), "--dwpose has no effect with --pose-models"),
        (("--poses-size=3x4",), "--poses-size has no effect without --keypoints-from"),
        (("--keypoints-from=.", "--poses-size=0x4"), "must be a size such as 1280x720, got '0x4'"),
    ],
)
def test_flags_without_effect_are_refused(flags, message, tmp_path, capsys):
    assert cli.main([f"--videos={tmp_path}", f"--output={tmp_path}/out", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
