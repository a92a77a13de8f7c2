"""`sample.py --poses` with keypoint files: canvas, person and smoothing."""

import json

import numpy as np
import pose_files as tools
import pytest
from PIL import Image

from aa_jax import runtime, weights
from aa_jax.sampling import cli, long_video


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Runs `sample.py` without networks; returns the exit code and the keypoints it would draw."""
    monkeypatch.setattr(runtime, "prepare", lambda: None)
    monkeypatch.setattr(weights, "load", lambda *_: (None, {}))
    given = {}

    def animate(pipeline, params, reference, skeletons, **_):
        given["keypoints"] = skeletons.keypoints
        yield np.zeros(skeletons.shape, np.uint8)

    monkeypatch.setattr(long_video, "animate", animate)
    Image.new("RGB", (320, 480)).save(tmp_path / "reference.png")

    def run(content, *flags):
        path = tmp_path / "poses.json"
        path.write_text(json.dumps(content))
        places = [f"--reference={tmp_path / 'reference.png'}", f"--output={tmp_path / 'me.mp4'}"]
        code = cli.main([*places, f"--poses={path}", "--width=64", "--height=96", *flags])
        return code, given.get("keypoints")

    return run


OPENPOSE = [tools.frame(t) for t in range(3)]


def test_what_openpose_writes_is_measured_in_the_reference_picture(sample, capsys):
    code, keypoints = sample(OPENPOSE)

    assert code == 0
    assert (keypoints.width, keypoints.height) == (320, 480)
    out = capsys.readouterr().out
    assert out.count("warning: ") == 1
    assert "measured in the reference picture's size, 320x480; --poses_size WIDTHxHEIGHT" in out


def test_a_given_size(sample, capsys):
    code, keypoints = sample(OPENPOSE, "--poses_size=640x960")

    assert (code, keypoints.width, keypoints.height) == (0, 640, 960)
    assert "warning" not in capsys.readouterr().out


def test_all_frames_and_their_time_are_said_before_the_work(sample, capsys):
    code, keypoints = sample([tools.frame(t % 24, **tools.CANVAS) for t in range(90)])

    assert (code, len(keypoints)) == (0, 90)
    assert "90 frames, 3.0 s at 30 frames per second" in capsys.readouterr().out


TWO = [
    {
        "people": [
            {"pose_keypoints_2d": tools.flat(tools.body(0, (shift, 0)), score)}
            for shift, score in zip((0, 320), ((0.9, 0.8), (0.8, 0.9))[t % 2], strict=True)
        ],
        "canvas_width": 640,
        "canvas_height": 480,
    }
    for t in range(8)
]


def test_a_dancer_pointed_at(sample, capsys):
    _, keypoints = sample(TWO, "--person=3:1")
    assert np.ptp(keypoints.body[:, tools.NECK, 0]) == 0
    code, _ = sample(TWO, "--person=9:0")
    assert code == 1
    assert "there is no frame 9: there are 8, from 0" in capsys.readouterr().err
    assert sample(TWO, "--person=second")[0] == 2
    assert "must be best, tracked, or FRAME:NUMBER such as 0:1" in capsys.readouterr().err


def test_one_of_two_dancers_is_followed(sample, capsys):
    _, keypoints = sample(TWO)
    assert np.ptp(keypoints.body[:, tools.NECK, 0]) == 320
    assert "several people in 100% of the frames" in capsys.readouterr().out

    code, keypoints = sample(TWO, "--person=tracked")
    assert code == 0
    assert np.ptp(keypoints.body[:, tools.NECK, 0]) == 0
    assert "several people" not in capsys.readouterr().out


def test_frames_of_nobody_are_told(sample, capsys):
    faint = {"people": [{"pose_keypoints_2d": tools.flat(tools.body(0), 0.2)}], **tools.CANVAS}
    content = [faint if t % 4 == 1 else tools.frame(t, **tools.CANVAS) for t in range(8)]

    assert sample(content)[0] == 0
    told = "nobody is drawn in 25% of the frames, in which no score is above 0.3"
    assert told in capsys.readouterr().out
    assert sample(content, "--smoothing=one_euro")[0] == 0  # which fills the gaps
    assert "is drawn in" not in capsys.readouterr().out


def test_smoothing_where_it_is_asked_for(sample):
    content = [tools.frame(t % 2 * 2, **tools.CANVAS) for t in range(12)]  # to and fro by 8 pixels

    assert np.ptp(sample(content)[1].body[:, tools.NECK, 0]) == 8
    assert np.ptp(sample(content, "--smoothing=none")[1].body[:, tools.NECK, 0]) == 8
    assert np.ptp(sample(content, "--smoothing=savgol")[1].body[:, tools.NECK, 0]) < 6
