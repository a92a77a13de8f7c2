"""Everyone in a video gets a number, a picture and a line; warnings are in words."""

import dataclasses

import numpy as np
import pytest
from stick_figures import moving_figure

from aa_jax.media.pictures import read_picture
from aa_jax.media.video import read_video, write_video
from aa_jax.page import look
from aa_jax.pose.people import People

FRAMES = 12


class Knowing:
    """A detector that knows who is in which frame: a list of clips, and since when each is seen."""

    name, key, device = "Knowing", "knowing", "cpu"

    def __init__(self, *people):
        self.people = people

    def stream(self, state=None):
        self.t, self.state = 0, np.zeros(0)
        return self

    def __call__(self, pictures):
        self.t += len(pictures)
        return [self._at(t) for t in range(self.t - len(pictures), self.t)]

    def _at(self, t):
        there = [clip for clip, since in self.people if t >= since]
        points = np.zeros((len(there), 134, 2), np.float32)
        scores = np.zeros((len(there), 134), np.float32)
        for k, clip in enumerate(there):
            points[k, :18], scores[k, :18] = clip.body[t], 0.9 - 0.1 * k
        return People(points, scores, len(there))


@pytest.fixture
def clip():
    return moving_figure(np.random.default_rng(0), FRAMES)


@pytest.fixture
def look_at(monkeypatch, tmp_path, capsys):
    """Looks at a video of 400x400 pixels; returns the exit code and what was said."""
    video = tmp_path / "dance.mp4"
    write_video(video, [np.full((400, 400, 3), 15 * t, np.uint8) for t in range(FRAMES)], 12)
    (tmp_path / "out").mkdir()

    def run(*people, flags=()):
        monkeypatch.setattr(look, "open_detector", lambda *_, **__: Knowing(*people))
        output = tmp_path / "out" / look.OVERLAY
        code = look.main([f"--driving={video}", f"--output={output}", *flags])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def moved(clip, by, scale=1.0):
    return dataclasses.replace(clip, body=clip.body * np.float32(scale) + np.float32(by))


def test_everyone_is_numbered(look_at, clip, tmp_path):
    code, said = look_at((moved(clip, (-90, 0)), 0), (moved(clip, (90, 0)), 3))

    assert code == 0, said
    first, second = look.read(tmp_path / "out")
    assert (first.who, first.frames, first.of) == ("0:0", 12, 12)
    assert (second.who, second.frames) == ("3:1", 9)
    assert first.height > 100
    frames, fps = read_video(tmp_path / "out" / look.OVERLAY)
    assert (frames.shape, fps) == ((FRAMES, 512, 512, 3), 12)
    left, right = (np.ptp(half, axis=-1).max() for half in np.split(frames[0], 2, axis=1))
    assert left > 100 > right  # colours of a skeleton; the other one comes later
    assert read_picture(tmp_path / "out" / second.picture).ndim == 3
    assert "warning: several people in 75% of the frames; choose one of them" in said


def test_whoever_is_seen_briefly_has_no_number(look_at, clip, tmp_path):
    code, said = look_at((clip, 0), (moved(clip, (90, 0)), FRAMES - 1))
    assert code == 0, said
    assert [person.who for person in look.read(tmp_path / "out")] == ["0:0"]
    assert "warning: without a number: 1 who are seen too briefly" in said


def test_a_person_too_small_is_named_by_number(look_at, clip):
    _, said = look_at((moved(clip, (100, 100), 0.15), 0))
    assert "warning: person 1: the person is only " in said


def test_a_spot_gets_no_number(look_at, clip, tmp_path):
    spot = moved(clip, (300, 0), 0.02)
    code, said = look_at((spot, 0), (clip, 0))
    assert code == 0, said
    assert [person.who for person in look.read(tmp_path / "out")] == ["0:0"]
    assert "dance.mp4: 1 of what is found is less than 16 pixels high" in said


def test_a_spot_alone_is_refused_as_by_sample(look_at, clip):
    code, said = look_at((moved(clip, (100, 100), 0.02), 0))
    assert code == 1
    assert "dance.mp4: what is found is less than 16 pixels high, too little to be a person" in said


def test_frames_and_smoothing_are_taken(look_at, clip, tmp_path):
    code, said = look_at((clip, 0), flags=["--frames=5", "--smoothing=none"])
    assert code == 0, said
    assert look.read(tmp_path / "out")[0].of == 5
    assert len(read_video(tmp_path / "out" / look.OVERLAY)[0]) == 5


def test_nobody(look_at, tmp_path):
    code, said = look_at()
    assert code == 1
    assert "error: " in said
    assert "dance.mp4: no person is found in its 12 frames" in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("flags", "code", "error"),
    [
        ([], 2, "error: there is no video to look at; upload one"),
        (["--driving=gone.mp4", "--frames=0"], 2, "must be at least 1"),
    ],
)
def test_mistakes(flags, code, error, tmp_path, capsys):
    assert look.main([*flags, f"--output={tmp_path / 'a.mp4'}"]) == code
    assert error in capsys.readouterr().err
