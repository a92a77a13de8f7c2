"""A driving video becomes poses that fit the reference, with a report beside the result."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from stick_figures import TYPICAL, limb_lengths, moving_figure
from video_files import EIGHT, set_matrix

from aa_jax import runtime, weights
from aa_jax.config import SkeletonConfig
from aa_jax.media.video import VideoError, read_video, write_video
from aa_jax.pose import detection
from aa_jax.pose.detection import DetectionError
from aa_jax.pose.keypoints import Keypoints, KeypointsError
from aa_jax.pose.people import People
from aa_jax.pose.retargeting import retarget
from aa_jax.sampling import cli, long_video
from aa_jax.sampling.driving import DrivingError, DrivingOptions, fit_poses, poses_from_video

STYLE = SkeletonConfig(size=64)
FRAMES = 12
REFERENCE = np.full((500, 300, 3), 255, np.uint8)


class Knowing:
    """A detector that knows everyone: a picture's brightness tells which frame it is."""

    name, key, device = "Knowing", "knowing", "cpu"

    def __init__(self, clip, character, people=1):
        self.clip, self.character, self.people = clip, character, people

    def stream(self, state=None):
        self.state = np.zeros(0)
        return self

    def __call__(self, pictures):
        return [self._people(picture) for picture in pictures]

    def _people(self, picture):
        level = picture.mean()
        if level > 230:
            return _as_people(self.character, 0, 1)
        return _as_people(self.clip, round(level / 15), self.people)


def _as_people(keypoints, t, people):
    feet = np.zeros((6, 2))
    hands, face = keypoints.hands[t].reshape(42, 2), keypoints.face[t]
    points = np.concatenate([keypoints.body[t], feet, face, hands]).astype(np.float32)
    scores = np.full(134, 0.9, np.float32)
    shifted = np.stack([points + 30 * k for k in range(max(people, 1))])
    return People(shifted, np.stack([scores - 0.1 * k for k in range(max(people, 1))]), people)


@pytest.fixture
def clip():
    return dataclasses.replace(moving_figure(np.random.default_rng(0), FRAMES), fps=12)


@pytest.fixture
def character():
    lengths = {**TYPICAL, "thigh": 60.0, "shin": 55.0}
    return moving_figure(np.random.default_rng(1), 1, lengths, size=(300, 500))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "dance.mp4"
    write_video(path, [np.full((400, 400, 3), 15 * t, np.uint8) for t in range(FRAMES)], 12)
    return path


@pytest.fixture
def drive(video, clip, character, tmp_path):
    """Runs `poses_from_video`; returns its path, and the lines it reports."""

    def run(people=1, **arguments):
        lines = []
        options = DrivingOptions(**{"smoothing": "none", **arguments.pop("options", {})})
        path = poses_from_video(
            video,
            REFERENCE,
            tmp_path / "me.mp4",
            style=STYLE,
            options=options,
            detector=Knowing(clip, character, people),
            report=lines.append,
            **arguments,
        )
        return path, lines

    return run


def test_poses_fit_the_reference(drive, clip, character, tmp_path):
    path, lines = drive()

    assert path == tmp_path / "me.poses.npz"
    poses = Keypoints.load(path)
    assert (len(poses), poses.width, poses.height, poses.fps) == (FRAMES, 300, 500, 12)
    expected, _ = retarget(clip, character)
    np.testing.assert_allclose(poses.body, expected.body, atol=1e-2)
    np.testing.assert_allclose(limb_lengths(poses)[:, 7], 60, rtol=0.02)
    assert "scale" in "\n".join(lines)


def test_overlay_and_ratios_are_saved_beside_the_result(drive, tmp_path):
    drive()

    report = json.loads((tmp_path / "me.retargeting.json").read_text())
    ratios = {bone["name"]: bone["ratio"] for bone in report["bones"]}
    assert ratios["thigh"] == pytest.approx(60 / TYPICAL["thigh"], rel=0.02)
    overlay, fps = read_video(tmp_path / "me.overlay.mp4")
    assert overlay.shape == (FRAMES, 512, 512 + 308, 3)  # 307 of the reference, made even
    assert fps == 12
    assert overlay[0, 5, 5].max() < 40  # the first frame is black, the reference white
    assert overlay[0, 5, -5].min() > 215
    for half in (overlay[0, :, :512], overlay[0, :, 512:]):
        assert len(np.unique(half.reshape(-1, 3) // 64, axis=0)) > 10  # a coloured skeleton
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "dance.mp4",
        "dance.mp4.poses.npz",
        "me.overlay.mp4",
        "me.poses.npz",
        "me.retargeting.json",
    ]


def test_what_is_done_to_the_video_is_told(drive, video):
    set_matrix(video, EIGHT["mirrored"])
    _, lines = drive()
    assert f"{video}: mirrored left to right" in lines


def test_without_retargeting_the_drivers_own_poses(drive, clip, tmp_path):
    path, _ = drive(options={"retargeting": "none"}, max_frames=5)

    poses = Keypoints.load(path)
    np.testing.assert_allclose(poses.body, clip.body[:5], atol=1e-3)
    assert not (tmp_path / "me.retargeting.json").exists()
    assert len(read_video(tmp_path / "me.overlay.mp4")[0]) == 5


def test_poses_are_smoothed(drive, clip):
    path, _ = drive(options={"retargeting": "none", "smoothing": "one_euro"})

    body = Keypoints.load(path).body
    assert 0 < np.abs(body - clip.body).max() < 20


def test_given_keypoints_of_the_reference(drive, character, clip, tmp_path):
    twice = character.resized(600, 1000)
    twice.save(tmp_path / "character.npz")

    path, _ = drive(reference_poses=tmp_path / "character.npz")

    expected, _ = retarget(clip, character)
    np.testing.assert_allclose(Keypoints.load(path).body, expected.body, atol=1e-2)


def test_variable_frame_rate_is_made_constant(drive, clip, monkeypatch):
    import aa_jax.media.video

    scan = aa_jax.media.video.scan_video

    def variable(path):
        times = np.array([0, 1, 3, 4]) / 12  # the second frame is shown twice as long
        return dataclasses.replace(scan(path), times=times, variable=True)

    monkeypatch.setattr(aa_jax.media.video, "scan_video", variable)
    path, _ = drive(options={"retargeting": "none"})

    poses = Keypoints.load(path)
    np.testing.assert_allclose(poses.body, clip.body[[0, 1, 1, 2, 3]], atol=1e-3)
    assert poses.fps == 12


def test_several_people_are_mentioned(drive):
    _, lines = drive(people=2)
    assert any("several people in 100% of the frames" in line for line in lines)
    _, lines = drive(people=2, options={"person": "tracked"})
    assert not any("several people" in line for line in lines)


def test_a_spot_is_no_person(video, clip, character, tmp_path):
    spot = dataclasses.replace(clip, body=clip.body * 0.02)
    with pytest.raises(DrivingError, match="is less than 16 pixels high, too little"):
        _drive(video, Knowing(spot, character), tmp_path, [])
    assert not list(tmp_path.glob("me.*"))


def test_frames_without_anybody_are_mentioned(video, clip, character, tmp_path):
    class Leaving(Knowing):
        def _people(self, picture):
            self.people = 1 if picture.mean() < 60 or picture.mean() > 230 else 0
            found = super()._people(picture)
            return found if self.people else People(found.points[:0], found.scores[:0], 0)

    lines = []
    _drive(video, Leaving(clip, character), tmp_path, lines)
    assert any("nobody is drawn in" in line for line in lines)


def _drive(video, detector, folder, lines):
    return poses_from_video(
        video,
        REFERENCE,
        folder / "me.mp4",
        style=STYLE,
        options=DrivingOptions(smoothing="none"),
        detector=detector,
        report=lines.append,
    )


def test_a_person_pointed_at(drive, clip, video):
    path, _ = drive(people=2, options={"person": (4, 1), "retargeting": "none"})
    np.testing.assert_allclose(Keypoints.load(path).body, clip.body + 30, atol=1e-3)
    with pytest.raises(KeypointsError, match=f"^{video}: there is no person 2 in frame 4: it"):
        drive(people=2, options={"person": (4, 2)})


def test_nobody_in_the_video(drive, tmp_path):
    with pytest.raises(DrivingError, match=r"dance\.mp4: no person is found in its 12 frames"):
        drive(people=0)
    assert not (tmp_path / "me.poses.npz").exists()


def test_broken_video(drive, video, tmp_path):
    video.write_bytes(video.read_bytes()[:-700])
    with pytest.raises(VideoError, match=r"dance\.mp4"):
        drive()
    assert [p.name for p in tmp_path.iterdir()] == ["dance.mp4"]


def test_keypoints_fitted_to_keypoints(clip, character, tmp_path):
    character.save(tmp_path / "character.json")
    arguments = {"options": DrivingOptions(), "report": lambda line: None}

    path = fit_poses(
        clip[:7],
        tmp_path / "character.json",
        REFERENCE,
        tmp_path / "me.mp4",
        **arguments,
    )

    expected, _ = retarget(clip[:7], character)
    np.testing.assert_allclose(Keypoints.load(path).body, expected.body, atol=1e-2)
    with pytest.raises(KeypointsError, match=r"gone\.npz"):
        fit_poses(clip, tmp_path / "gone.npz", REFERENCE, path, **arguments)


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def sample(tmp_path, video, monkeypatch):
    """Runs `sample.py --driving` with everything but the networks; returns what they were given."""
    monkeypatch.setattr(runtime, "prepare", lambda: None)
    monkeypatch.setattr(weights, "load", lambda *_: (None, {}))
    given = {}

    def animate(pipeline, params, reference, skeletons, **_):
        given["skeletons"] = skeletons[:]
        yield np.zeros_like(given["skeletons"])

    monkeypatch.setattr(long_video, "animate", animate)
    Image.fromarray(REFERENCE).save(tmp_path / "reference.png")

    def run(*flags):
        usual = [f"--reference={tmp_path / 'reference.png'}", f"--output={tmp_path / 'me.mp4'}"]
        size = ["--width=60", "--height=100"]
        return cli.main([*usual, *size, *flags]), given

    return run


def test_command_line(sample, video, clip, character, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(detection, "open_detector", lambda *_, **__: Knowing(clip, character))
    sounds = []
    monkeypatch.setattr("aa_jax.media.audio.add_audio", lambda *paths: sounds.append(paths) or True)

    code, given = sample(f"--driving={video}", "--dwpose=models", "--anchor=neck", "--frames=6")

    assert code == 0, capsys.readouterr().err
    assert given["skeletons"].shape == (6, 100, 60, 3)
    assert given["skeletons"].any()
    frames, fps = read_video(tmp_path / "me.mp4")
    assert (len(frames), fps) == (6, 12)
    assert sounds == [(tmp_path / "me.mp4", video)]
    report = json.loads((tmp_path / "me.retargeting.json").read_text())
    assert report["anchor"] == "neck"


def test_poses_and_reference_poses_on_the_command_line(sample, clip, character, tmp_path):
    clip.save(tmp_path / "dance.npz")
    character.save(tmp_path / "character.npz")
    flags = [f"--poses={tmp_path / 'dance.npz'}", "--frames=4"]

    code, given = sample(*flags, f"--reference-poses={tmp_path / 'character.npz'}")

    assert code == 0
    assert len(given["skeletons"]) == 4
    assert (tmp_path / "me.retargeting.json").exists()


def test_missing_networks_are_named(sample, video, tmp_path, capsys):
    code, _ = sample(f"--driving={video}", f"--dwpose={tmp_path}")

    err = capsys.readouterr().err
    assert code == 1
    assert err.startswith(f"error: {tmp_path / 'yolox_l.onnx'} and ")
    assert err.count("\n") == 1
    assert issubclass(DetectionError, ValueError)


def test_poses_and_driving_exclude_each_other(sample, video, capsys):
    code, _ = sample(f"--driving={video}", "--poses=a.npz")
    assert code == 2
    assert "not allowed with" in capsys.readouterr().err
