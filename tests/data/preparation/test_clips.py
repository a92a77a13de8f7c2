"""What people's videos become in a dataset, and what the report says was done to them."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest
from puppet_videos import keypoints, pictures, prepare, write_openpose
from video_files import EIGHT, encode, encode_yuv, set_matrix

from aa_jax.data.dataset import open_dataset


def prepared(folder, *flags, output="out"):
    """Prepares a folder of videos and poses; returns clips and report by name."""
    assert prepare(folder, folder / output, *flags) == 0
    dataset = open_dataset(folder / output, "train")
    clips = {clip.name: clip for clip in map(dataset.clip, range(len(dataset)))}
    report = json.loads((folder / output / "report.json").read_text())
    return clips, {video["name"]: video for video in report["videos"]}


def test_pixels_that_are_not_square(tmp_path):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    encode(tmp_path / "videos" / "a.mp4", pictures(0, width=48, height=96), rate=12, setup=wide)
    write_openpose(tmp_path / "poses" / "a", keypoints(0, width=96, height=96))
    clips, videos = prepared(tmp_path)
    assert clips["a.mp4"].size == (96, 96)
    assert videos["a.mp4"]["notes"] == ["pixels made square: 48x96 shown as 96x96"]


def test_mirrored_and_turned_clips(tmp_path):
    for name in ("mirrored", "transposed"):
        encode(tmp_path / "videos" / f"{name}.mp4", pictures(0, width=96), rate=12)
        set_matrix(tmp_path / "videos" / f"{name}.mp4", EIGHT[name])
    write_openpose(tmp_path / "poses" / "mirrored", keypoints(0, width=96))
    write_openpose(tmp_path / "poses" / "transposed", keypoints(0, width=64, height=96))
    clips, videos = prepared(tmp_path)
    stored = pictures(0, width=96)[0].astype(int)
    for name, picture in (("mirrored", stored[:, ::-1]), ("transposed", stored.swapaxes(0, 1))):
        clip = clips[f"{name}.mp4"]
        assert np.abs(clip.pictures([0], clip.size)[0] - picture).mean() < 10  # lossy twice
        assert videos[f"{name}.mp4"]["notes"][-1] == "mirrored left to right"


def test_hdr_is_tone_mapped_and_named(tmp_path):
    path = tmp_path / "videos" / "a.mov"
    path.parent.mkdir()
    tags = {"space": 9, "primaries": 9, "transfer": 18}
    encode_yuv(path, (721, 512, 512), pixels="yuv420p10le", count=24, **tags)
    write_openpose(tmp_path / "poses" / "a", keypoints(0))
    clips, videos = prepared(tmp_path, "--min-visible", 0, "--max-empty", 1)
    assert clips["a.mov"].pictures([3], (64, 64)).mean() == pytest.approx(251, abs=2)
    assert videos["a.mov"]["notes"] == ["HDR (HLG, BT.2020), tone-mapped to BT.709"]


def test_a_held_last_frame_is_no_truncation(tmp_path):
    times = {"times": np.arange(24) * 40, "last": 1500, "options": {"bf": "0"}}
    encode(tmp_path / "videos" / "a.mkv", pictures(0), **times)
    write_openpose(tmp_path / "poses" / "a", keypoints(0))
    clips, videos = prepared(tmp_path)
    assert (clips["a.mkv"].length, clips["a.mkv"].fps) == (24, 25)
    assert videos["a.mkv"]["notes"] == []  # nothing was done to the video


@pytest.fixture
def odd_names(tmp_path):
    for name in ("good", "caf\udce9", "12:30", "-dash", "a b", "line\nend"):
        encode(tmp_path / "videos" / f"{name}.mp4", pictures(0), rate=12)
        write_openpose(tmp_path / "poses" / name, keypoints(0))
    encode(tmp_path / "videos" / "poseless\udcff.mp4", pictures(0), rate=12)
    for name in ("._good.mp4", ".hidden.mp4", ".trash/old.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"\0\5\26\7" + bytes(60))
    return tmp_path


KEPT = {"good.mp4", "caf\\xe9.mp4", "12:30.mp4", "-dash.mp4", "a b.mp4", "line\\nend.mp4"}


@pytest.mark.parametrize("workers", [0, 2])
def test_names_of_all_kinds_and_hidden_files(odd_names, workers, capsys):
    clips, videos = prepared(odd_names, "--workers", workers)
    assert set(clips) == KEPT
    assert videos["poseless\\xff.mp4"]["status"] == "broken"
    assert videos["poseless\\xff.mp4"]["cause"].startswith("no keypoints ")
    report = json.loads((odd_names / "out" / "report.json").read_text())
    assert {other["name"] for other in report["others"]} == {"._good.mp4", ".hidden.mp4", ".trash"}
    assert "caf\\xe9.mp4" not in capsys.readouterr().out  # nothing to say of it
    assert "poseless\\xff.mp4" in (odd_names / "out" / "report.html").read_text()


@pytest.mark.parametrize("storage", ["jpeg", "mp4"])
@pytest.mark.parametrize("output", ["12:30", "file:x", "-dash", "a b #1?"])
def test_outputs_of_all_names(tmp_path, monkeypatch, storage, output):
    encode(tmp_path / "videos" / "a.mp4", pictures(0), rate=12)
    write_openpose(tmp_path / "poses" / "a", keypoints(0))
    monkeypatch.chdir(tmp_path)
    from aa_jax.data.preparation import cli

    flags = ["--videos", "videos", "--keypoints-from", "poses", "--workers", "0"]
    assert cli.main([*flags, "--output", output, "--storage", storage]) == 0
    clip = open_dataset(tmp_path / output, "train").clip(0)
    found = clip.pictures([4], clip.size)[0]
    assert np.abs(found.astype(int) - pictures(0)[4]).mean() < 10  # lossy twice


def test_an_output_that_cannot_be_is_said_before_the_work(tmp_path, capsys):
    encode(tmp_path / "videos" / "a.mp4", pictures(0), rate=12)
    write_openpose(tmp_path / "poses" / "a", keypoints(0))
    (tmp_path / "file").write_text("")
    for output, cause in (("caf\udce9", "is no UTF-8"), ("file", "cannot be written (Not a dir")):
        assert prepare(tmp_path, tmp_path / output) == 1
        line = capsys.readouterr().err.strip()
        assert cause in line
        assert "\n" not in line
    assert sorted(os.listdir(tmp_path)) == ["file", "poses", "videos"]
