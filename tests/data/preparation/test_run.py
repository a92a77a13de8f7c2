"""Whole preparations: what is kept, what is named, and what a killed run leaves to do."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import puppet_videos
import pytest
from dwpose_models import write_detector, write_pose
from puppet_videos import prepare

from aa_jax.data.dataset import open_dataset
from aa_jax.data.preparation import media, work
from aa_jax.media.pictures import read_picture
from aa_jax.pose.keypoints import Keypoints


def report_of(output):
    report = json.loads((output / "report.json").read_text())
    return report, {video["name"]: video for video in report["videos"]}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Good, strange and broken videos in one folder, prepared in two processes."""
    folder = tmp_path_factory.mktemp("mixed")
    videos, poses = folder / "videos", folder / "poses"
    puppet_videos.good(videos, poses, "good.mp4", 0)
    expected = puppet_videos.break_folder(videos, poses)
    times = np.cumsum(np.where(np.arange(24) % 5 == 4, 200, 80))  # every fifth frame lasts longer
    puppet_videos.encode(videos / "variable.mkv", puppet_videos.pictures(1), times=times)
    puppet_videos.write_openpose(poses / "variable", puppet_videos.keypoints(1))
    puppet_videos.encode(videos / "rotated.mp4", puppet_videos.pictures(2, width=96))
    puppet_videos.rotate(videos / "rotated.mp4")
    puppet_videos.write_openpose(poses / "rotated", puppet_videos.keypoints(2, width=64, height=96))
    puppet_videos.encode(videos / "two.mp4", puppet_videos.pictures(3))
    puppet_videos.write_openpose(poses / "two", puppet_videos.keypoints(3), people=2)
    puppet_videos.good(videos, poses, "large.mp4", 4, width=160, height=128)
    (videos / "notes.txt").write_text("not a video")
    assert prepare(folder, folder / "out", "--workers", 2, "--short_side", 96) == 0
    return folder, expected


def test_broken_videos_are_named_with_their_cause_and_the_rest_goes_on(mixed):
    folder, expected = mixed
    report, videos = report_of(folder / "out")
    assert len(expected) == 8
    for name, cause in expected.items():
        assert videos[name]["status"] != "kept"
        assert cause in videos[name]["cause"], name
        assert "\n" not in videos[name]["cause"]
    assert videos["two.mp4"]["cause"] == "crowded: several people in 100% of the frames"
    kept = {name for name, video in videos.items() if video["status"] == "kept"}
    assert kept == {"good.mp4", "variable.mkv", "rotated.mp4", "large.mp4"}
    assert report["rules"] == {"short": 1, "small": 0, "crowded": 1, "empty": 0, "hidden": 0}
    assert [other["name"] for other in report["others"]] == ["notes.txt"]
    html = (folder / "out" / "report.html").read_text()
    assert all(name in html for name in expected)
    assert "report/clips_00.png" in html
    assert (folder / "out" / "report" / "clips_00.png").exists()


def test_a_clip_of_fewer_frames_than_the_report_shows(tmp_path):
    videos, poses = tmp_path / "videos", tmp_path / "poses"
    puppet_videos.good(videos, poses, "long.mp4", 0)
    puppet_videos.good(videos, poses, "two.mp4", 1, frames=2)
    assert prepare(tmp_path, tmp_path / "out", "--min-frames", 1) == 0
    assert {clip.length for clip in clips_of(tmp_path / "out").values()} == {24, 2}
    sheet = read_picture(tmp_path / "out" / "report" / "clips_00.png")
    shown = sheet[-media.STRIP_SIDE :].reshape(media.STRIP_SIDE, -1, media.STRIP_SIDE, 3)
    pictures = [bool(square.std() > 1) for square in shown.transpose(1, 0, 2, 3)]
    assert pictures == [True] * 4 + [False] * 4


def test_what_is_not_kept_is_told_in_one_line_each(tmp_path, capsys):
    puppet_videos.good(tmp_path / "videos", tmp_path / "poses", "good.mp4", 0)
    puppet_videos.good(tmp_path / "videos", tmp_path / "poses", "short.mp4", 1, frames=1)
    (tmp_path / "videos" / "empty.mp4").touch()
    assert prepare(tmp_path, tmp_path / "out") == 0
    said = capsys.readouterr()
    lines = {line.strip() for line in (said.out + said.err).splitlines()}
    videos = tmp_path / "videos"
    assert f"{videos}/short.mp4: left out, short: 1 frame" in lines
    assert f"{videos}/empty.mp4: broken, no video that can be read (0 bytes)" in lines


def clips_of(output):
    dataset = open_dataset(output, "train")
    return {clip.name: clip for clip in map(dataset.clip, range(len(dataset)))}


def test_keypoints_without_a_canvas_are_named_in_the_report(mixed):
    folder, _ = mixed
    _, videos = report_of(folder / "out")
    (guess,) = videos["rotated.mp4"]["guesses"]
    assert "names no canvas; its points are taken as measured in the video's size, 64x96" in guess
    page = (folder / "out" / "report.html").read_text()
    assert "names no canvas; its points are taken as measured in" in page


def test_a_rotated_video_stands_upright_with_its_keypoints(mixed):
    folder, _ = mixed
    _, videos = report_of(folder / "out")
    assert videos["rotated.mp4"]["notes"] == ["turned by 270 degrees to stand upright"]
    clip = clips_of(folder / "out")["rotated.mp4"]
    assert clip.size == (64, 96)
    stored = puppet_videos.pictures(2, width=96)[0]
    upright = np.rot90(stored, -1)
    found = clip.pictures([0], clip.size)[0]
    assert np.abs(found.astype(int) - upright).mean() < 10  # lossy twice


def test_a_variable_frame_rate_is_made_constant(mixed):
    folder, _ = mixed
    _, videos = report_of(folder / "out")
    (note,) = videos["variable.mkv"]["notes"]
    assert note == "variable frame rate, brought to 12.5 frames per second"
    clip = clips_of(folder / "out")["variable.mkv"]
    assert clip.fps == 12.5
    # 24 frames of 80 ms, of which five last 200 ms: shown twice or three times.
    assert clip.length == 30
    drawn = puppet_videos.keypoints(1).body
    found = clip.keypoints(range(clip.length), clip.size).body
    nearest = [int(np.abs(drawn - body).sum((1, 2)).argmin()) for body in found]
    assert nearest == sorted(nearest)
    assert set(nearest) == set(range(24))


def test_large_frames_are_shrunk_with_their_keypoints(mixed):
    folder, _ = mixed
    clip = clips_of(folder / "out")["large.mp4"]
    assert clip.size == (120, 96)
    expected = puppet_videos.keypoints(4, width=120, height=96).body
    np.testing.assert_allclose(clip.keypoints(range(24), clip.size).body, expected, atol=1e-3)


def records(output):
    """All records, decoded: how protocol buffers order a record's fields is left open."""
    import tensorflow_datasets as tfds

    found = {}
    for table in ("clips", "frames"):
        folder = output / "dataset" / "folder" / table / "1.0.0"
        source = tfds.builder_from_directory(str(folder)).as_data_source("train")
        found[table] = [{k: np.asarray(v).tobytes() for k, v in row.items()} for row in source]
    return found


def test_the_same_folder_gives_the_same_records_by_any_number_of_processes(
    video_folder, jpeg_dataset, tmp_path
):
    assert prepare(video_folder, tmp_path, "--workers", 2) == 0
    assert records(tmp_path) == records(jpeg_dataset)
    assert [len(rows) for rows in records(tmp_path).values()] == [3, 24 + 30 + 26]


def test_a_killed_run_goes_on_without_doing_finished_videos_again(
    video_folder, tmp_path, monkeypatch
):
    """Killed in the last stage: every clip is stored, the dataset is not there; then it is."""
    scans, stores = [], []
    scan, store = media.scan, media.store
    monkeypatch.setattr(media, "scan", lambda path: scans.append(path) or scan(path))
    monkeypatch.setattr(media, "store", lambda *args: stores.append(args) or store(*args))
    from aa_jax.data.preparation import builders

    def killed(folder, *_):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builders, "write_dataset", killed)
        assert prepare(video_folder, tmp_path) == 130
    assert not (tmp_path / "dataset").exists()
    assert (len(scans), len(stores)) == (3, 3)
    leftovers = [tmp_path / ".dataset.abcd", tmp_path / "cache" / "video" / ".clip-1.efgh"]
    for leftover in leftovers:  # as SIGKILL would leave them
        leftover.mkdir(parents=True)

    assert prepare(video_folder, tmp_path) == 0
    assert (len(scans), len(stores)) == (3, 3)
    assert len(open_dataset(tmp_path, "train")) == 3
    assert not any(leftover.exists() for leftover in leftovers)

    first = (tmp_path / "dataset").stat().st_ino
    assert prepare(video_folder, tmp_path) == 0
    assert (tmp_path / "dataset").stat().st_ino == first  # nothing new, nothing written


def test_a_changed_video_is_done_again_and_others_are_not(video_folder, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(video_folder, folder)
    assert prepare(folder, tmp_path / "out") == 0
    puppet_videos.encode(folder / "videos" / "a.mp4", puppet_videos.pictures(7))
    scans = []
    scan = media.scan
    monkeypatch.setattr(media, "scan", lambda path: scans.append(path.name) or scan(path))
    assert prepare(folder, tmp_path / "out") == 0
    assert scans == ["a.mp4"]
    clip = clips_of(tmp_path / "out")["a.mp4"]
    found = clip.pictures([0], clip.size)[0]
    assert np.abs(found.astype(int) - puppet_videos.pictures(7)[0]).mean() < 10


def test_dropped_frames_are_made_again_only_for_another_dataset(
    video_folder, tmp_path, monkeypatch
):
    stores, store = [], media.store
    monkeypatch.setattr(media, "store", lambda *args: stores.append(args) or store(*args))
    assert prepare(video_folder, tmp_path, "--drop-clips") == 0
    assert not list(tmp_path.rglob("frames.bin"))
    assert len(list((tmp_path / "cache").glob("*/scan-*.json"))) == 3
    first = records(tmp_path)

    assert prepare(video_folder, tmp_path, "--drop-clips") == 0
    assert len(stores) == 3
    assert records(tmp_path) == first

    assert prepare(video_folder, tmp_path, "--min-frames", 26) == 0
    assert len(stores) == 3 + 2
    assert list(clips_of(tmp_path)) == ["b #1.mkv", "deep/c+d.avi"]


def test_a_foreign_folder_is_never_replaced(video_folder, tmp_path, capsys):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "precious").write_text("")
    assert prepare(video_folder, tmp_path) == 1
    assert "is no dataset of prepare.py" in capsys.readouterr().err
    assert (tmp_path / "dataset" / "precious").exists()


def test_a_folder_without_one_usable_video_fails_and_says_where_to_look(tmp_path, capsys):
    puppet_videos.good(tmp_path / "videos", tmp_path / "poses", "a.mp4", 0, frames=5)
    assert prepare(tmp_path, tmp_path / "out") == 1
    assert "no video can be used" in capsys.readouterr().err
    assert "short: 5 frames" in (tmp_path / "out" / "report.html").read_text()


def test_frame_folders_of_tiktok(tmp_path):
    from PIL import Image

    for name, index in (("00001", 0), ("00335", 1)):
        images = tmp_path / "videos" / name / "images"
        images.mkdir(parents=True)
        for frame, picture in enumerate(puppet_videos.pictures(index)):
            Image.fromarray(picture).save(images / f"{frame:04d}.png")
        (tmp_path / "poses").mkdir(exist_ok=True)
        puppet_videos.keypoints(index).save(tmp_path / "poses" / f"{name}.npz")
    assert prepare(tmp_path, tmp_path / "out", "--layout", "tiktok") == 0
    clip = open_dataset(tmp_path / "out", "test").clip(0)
    assert (clip.name, clip.length, clip.fps) == ("00335", 24, 30.0)
    expected = puppet_videos.pictures(1)[4].astype(int)
    assert np.abs(clip.pictures([4], clip.size)[0] - expected).mean() < 3  # JPEG


def test_an_unreadable_file_is_an_outcome_like_any_other(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(media, "content_hash", denied)
    source = work.Source("train", "a.mp4", Path("videos/a.mp4"))
    outcome = work.prepare_video(source, task_of(tmp_path))
    assert (outcome.status, outcome.cause) == ("broken", "Permission denied")


def task_of(folder):
    rules, settings = work.filters.Rules(), media.MediaSettings()
    return work.Task(cache=folder, keypoints=folder, detector=None, rules=rules, media=settings)


def test_keypoints_must_be_one_per_frame(tmp_path):
    puppet_videos.encode(tmp_path / "a.mp4", puppet_videos.pictures(0))
    puppet_videos.keypoints(0, frames=20).save(tmp_path / "a.npz")
    source = work.Source("train", "a.mp4", tmp_path / "a.mp4")
    outcome = work.prepare_video(source, task_of(tmp_path))
    assert outcome.status == "broken"
    assert outcome.cause.endswith("20 frames of keypoints for 24 frames of video")


def test_detected_poses_are_kept_in_the_cache(tmp_path, monkeypatch):
    """With a detector that knows the puppet's joints: one detection, two preparations."""
    from aa_jax.data.preparation import poses
    from aa_jax.pose.dwpose_networks import Frames
    from aa_jax.pose.people import People

    puppet_videos.encode(tmp_path / "a.mp4", puppet_videos.pictures(0))
    truth, calls = puppet_videos.keypoints(0).body, []

    class Detector:
        key = "known"

        def stream(self, state=None):
            return Frames(self.detect)

        def detect(self, pictures):
            found = []
            for _ in pictures:
                points, scores = np.zeros((1, 134, 2), np.float32), np.zeros((1, 134), np.float32)
                points[0, :18], scores[0, :18] = truth[len(calls)], 0.9
                calls.append(None)
                found.append(People(points, scores, 1))
            return found

    monkeypatch.setattr(poses, "open_detector", lambda settings: Detector())
    task = task_of(tmp_path / "cache")
    settings = poses.DetectorSettings(dwpose=Path("models"))
    task = work.dataclasses.replace(task, keypoints=None, detector=settings)
    source = work.Source("train", "a.mp4", tmp_path / "a.mp4")
    for _ in range(2):
        outcome = work.prepare_video(source, task)
        assert outcome.status == "kept", outcome.cause
    assert len(calls) == 24
    np.testing.assert_allclose(Keypoints.load(outcome.clip / "clip.npz").body, truth, rtol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "DATA"], "--videos is missing"),
        (["--output", "DATA", "--cache-latents"], "--cache-latents needs --weights"),
        (["--videos", "V"], "--output"),
        (["--videos", "V", "--output", "D", "--keypoints_from", "no"], "no such folder"),
        (["--videos", "V", "--output", "D", "--jpeg-quality", "0"], "from 1 to 100"),
        (["--videos", "V", "--output", "D", "--max_empty", "2"], "a number from 0 to 1"),
        (
            ["--output", "D", "--cache-latents", "--weights", "W", "--buckets", "8by8"],
            "must be a size such as 1280x720",
        ),
    ],
)
def test_mistakes_in_flags_are_named_in_one_line(flags, message, capsys, tmp_path, monkeypatch):
    from aa_jax.data.preparation import cli

    monkeypatch.chdir(tmp_path)
    assert cli.main(flags) in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not os.listdir(tmp_path)


def test_the_folder_of_videos_is_no_output(tmp_path, capsys):
    from aa_jax.data.preparation import cli

    (tmp_path / "a.mp4").touch()
    flags = [f"--videos={tmp_path}", f"--output={tmp_path}", f"--keypoints-from={tmp_path}"]
    assert cli.main(flags) == 1
    assert "is the folder of videos" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_detector_says_where_it_runs(tmp_path, capsys):
    from aa_jax.data.preparation import cli

    models = tmp_path / "models"
    models.mkdir()
    write_detector(models / "yolox_l.onnx", [(0, 0, 600, 600, 0.9)])
    write_pose(models / "dw-ll_ucoco_384.onnx")
    flags = [f"--videos={models}", f"--output={tmp_path / 'out'}", f"--dwpose={models}"]
    assert cli.main([*flags, "--provider=cpu"]) == 1  # there are no videos
    assert capsys.readouterr().out == "the pose detector is DWPose, on the cpu\n"


def test_missing_models_are_named_before_anything_is_done(tmp_path, video_folder, capsys):
    from aa_jax.data.preparation import cli

    flags = [
        "--videos",
        video_folder / "videos",
        "--output",
        tmp_path / "out",
        "--dwpose",
        tmp_path,
    ]
    assert cli.main(list(map(str, flags))) == 1
    error = capsys.readouterr().err
    assert "yolox_l.onnx" in error
    assert "dw-ll_ucoco_384.onnx" in error
    assert not (tmp_path / "out").exists()
