"""`sample.py` makes videos, and answers every mistake with one line and no half-made file."""

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_model import MODEL, SCHEDULE

from aa_jax import config as config_lib
from aa_jax import runtime, weights
from aa_jax.media.provenance import inspection
from aa_jax.media.video import read_video, write_video
from aa_jax.pose.keypoints import Keypoints
from aa_jax.sampling import cli, result, resume

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory, params, reference):
    """Weights, a reference picture and poses of nine frames."""
    folder = tmp_path_factory.mktemp("files")
    sampling = config_lib.SamplingConfig(width=24, height=16, frames=4, steps=2, guidance_scale=1)
    config = weights.WeightsConfig(
        model=MODEL,
        schedule=SCHEDULE,
        skeleton=config_lib.SkeletonConfig(size=64),
        sampling=sampling,
    )
    weights.save(folder / "weights", config, params)
    Image.fromarray(reference).save(folder / "reference.png")
    body = np.random.default_rng(0).uniform(0, 60, (9, 18, 2))
    Keypoints(body=body, body_scores=np.ones((9, 18)), width=96, height=64, fps=12).save(
        folder / "poses.npz"
    )
    return folder


@pytest.fixture
def sample(files, tmp_path, monkeypatch):
    """Runs `sample.py` with the fixture's files unless other flags are given."""
    monkeypatch.setattr(runtime, "prepare", lambda: None)

    def run(*flags, output=tmp_path / "out" / "video.mp4"):
        defaults = {
            "--weights": files / "weights",
            "--reference": files / "reference.png",
            "--poses": files / "poses.npz",
            "--output": output,
        }
        given = {flag.partition("=")[0] for flag in flags}
        usual = [f"{name}={value}" for name, value in defaults.items() if name not in given]
        return cli.main([*usual, *flags])

    return run


def test_makes_a_video(sample, tmp_path, capsys):
    assert sample("--frames=4") == 0
    frames, fps = read_video(tmp_path / "out" / "video.mp4")
    assert frames.shape == (4, 16, 24, 3)
    assert fps == 12
    out = capsys.readouterr().out
    assert out.index("4 frames, 0.3 s at 12 frames per second") < out.index("encoding")
    assert "denoising 4 frames in 2 steps" in out
    assert "denoised in " in out
    assert f"wrote {tmp_path}/out/video.mp4: 4 frames of 24x16 at 12 frames per second" in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["video.mp4"]


def test_results_say_that_they_were_generated_and_nothing_of_their_user(sample, files, tmp_path):
    paths = tmp_path / "Jane Doe" / "a.mp4", tmp_path / "b.mp4"
    for path in paths:
        assert sample("--frames=4", "--seed=7", output=path) == 0
    report = inspection.inspect(paths[0])
    assert report.sources == ("trainedAlgorithmicMedia",)
    for said in (dict(report.tags), dict(report.xmp)):
        assert (said["seed"], said["steps"]) == ("7", "2")
        assert said["weights_vae"] == f"sha256:{weights.hashes(files / 'weights')['vae']}"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for private in (b"Jane Doe", bytes(files), b"reference.png"):
        assert private not in paths[0].read_bytes()


def test_results_are_signed_last_of_all(sample, files, tmp_path):
    pytest.importorskip("c2pa")
    pair = pytest.importorskip("certificates").write_pair(tmp_path)
    assert sample("--frames=4", "--gif", "--sign", f"{pair.certificate}", f"{pair.key}") == 0
    reference = hashlib.sha256((files / "reference.png").read_bytes()).hexdigest()
    for name in ("video.mp4", "video.gif"):
        signed = inspection.inspect(tmp_path / "out" / name).signed
        assert not signed.faults
        assert ("ingredient", f"reference picture sha256:{reference}") in signed.said


def test_all_poses_are_used(sample, tmp_path, capsys):
    assert sample() == 0
    assert len(read_video(tmp_path / "out" / "video.mp4")[0]) == 9
    out = capsys.readouterr().out
    assert out.index("9 frames, 0.8 s at 12 frames per second") < out.index("encoding")
    assert out.count("step 1 of 2 is done; about ") == 1
    assert out.index("step 1 of 2 is done") < out.index("decoding 9 frames")


def test_presets_are_samplers_with_their_steps(sample, monkeypatch):
    made = []
    monkeypatch.setattr(
        "aa_jax.sampling.long_video.animate", lambda *args, **kwargs: made.append(kwargs) or []
    )
    monkeypatch.setattr(result, "write", lambda *args, **kwargs: None)
    asked = {
        (): ("ddim", 2),
        ("--preset=fast",): ("unipc", 10),
        ("--preset=draft",): ("unipc", 5),
        ("--preset=fast", "--sampler=dpm_solver", "--steps=7"): ("dpm_solver", 7),
    }
    for flags in asked:
        assert sample(*flags) == 0
    assert [(kwargs["sampler"], kwargs["steps"]) for kwargs in made] == list(asked.values())


def test_features_are_cached_within_one_window_only(sample, capsys):
    assert sample("--feature-cache-interval=2", "--frames=4") == 0
    assert sample("--feature-cache-interval=2", "--frames=9") == 2
    assert "feature_cache_interval=2 needs a video of one window, at most 6" in (
        capsys.readouterr().err
    )


def test_side_by_side_and_gif(sample, tmp_path):
    assert sample("--side-by-side", "--gif", "--frames=4") == 0
    assert read_video(tmp_path / "out" / "video.mp4")[0].shape == (4, 16, 72, 3)
    assert read_video(tmp_path / "out" / "video.gif")[0].shape == (4, 16, 72, 3)
    for name in ("video.mp4", "video.gif"):
        sources = inspection.inspect(tmp_path / "out" / name).sources
        assert sources == ("compositeSynthetic",)


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "-x.mkv", "caf\udce9.mov"], ids=["colon", "dash", "bytes"]
)
def test_results_of_all_names(sample, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert sample(f"--output={name}", "--frames=4", "--gif") == 0
    assert read_video(tmp_path / name)[0].shape == (4, 16, 24, 3)


def test_sound_that_cannot_be_added_leaves_the_silent_video(tmp_path):
    video, broken = tmp_path / "a.mp4", tmp_path / "broken.mp4"
    write_video(video, np.zeros((4, 16, 24, 3), np.uint8), 12)
    broken.write_bytes(b"no video")
    before, lines = video.read_bytes(), []
    cli._add_sound(video, broken, lines.append)
    assert video.read_bytes() == before
    assert len(lines) == 1
    assert lines[0].endswith("; the video stays silent")


def test_stretched_inputs_are_mentioned(sample, capsys, monkeypatch):
    monkeypatch.setattr(result, "write", lambda *args, **kwargs: None)
    assert sample() == 0
    assert "the reference picture has aspect ratio 0.90, the video 1.50" in capsys.readouterr().err


def test_long_video_is_resumed_where_it_was_killed(sample, tmp_path, capsys, monkeypatch):
    # given nine frames for windows of six, the whole video, and one killed after its first step
    flags = ("--frames=9", "--overlap=2", "--side-by-side", "--sampler=unipc")
    whole, killed = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    assert sample(*flags, output=whole) == 0
    save = resume.StateFile.save

    def save_and_die(self, done, state):
        save(self, done, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.StateFile, "save", save_and_die)
        assert sample(*flags, output=killed) == 130
    assert [path.name for path in tmp_path.iterdir() if "killed" in path.name] == [
        ".killed.mp4.unfinished.npz"
    ]
    capsys.readouterr()

    # when it is resumed with another seed, then that is refused
    assert sample(*flags, "--resume", "--seed=1", output=killed) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 + error.count("warning:")
    assert "the unfinished video was made with seed=0, not 1" in error

    # when it is resumed as it was, then the result is the whole video, and nothing else is left
    assert sample(*flags, "--resume", output=killed) == 0
    assert "denoising 9 frames in 2 steps from step 2" in capsys.readouterr().out
    np.testing.assert_array_equal(read_video(killed)[0], read_video(whole)[0])
    assert read_video(whole)[0].shape == (9, 16, 72, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.mp4", "whole.mp4"]


def copy_weights(files, tmp_path):
    return shutil.copytree(files / "weights", tmp_path / "weights")


def truncated(files, tmp_path):
    folder = copy_weights(files, tmp_path)
    path = folder / "denoising_unet.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def other_architecture(files, tmp_path):
    folder = copy_weights(files, tmp_path)
    shutil.copy(folder / "vae.safetensors", folder / "reference_unet.safetensors")
    return folder


def no_config(files, tmp_path):
    folder = copy_weights(files, tmp_path)
    (folder / "config.json").unlink()
    return folder


def text_file(files, tmp_path, name):
    path = tmp_path / name
    path.write_text("neither picture nor video")
    return path


def empty_folder(files, tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    return path


def poseless(files, tmp_path):
    path = tmp_path / "none.npz"
    zeros = Keypoints(np.zeros((3, 18, 2)), np.zeros((3, 18)), width=8, height=8, fps=8)
    zeros.save(path)
    return path


MISTAKES = {
    # flags that cannot be: exit code 2
    "zero steps": ("--steps=0", 2, "--steps: must be at least 1, got 0"),
    "steps that are no number": ("--steps=ten", 2, "must be a whole number, got 'ten'"),
    "too many steps": ("--steps=2000", 2, "steps must be between 1 and 1000, got 2000"),
    "negative guidance": ("--guidance-scale=-1", 2, "must be a number from 0 up, got -1"),
    "unknown flag": ("--stepps=3", 2, "unrecognized arguments: --stepps=3"),
    "unknown dtype": ("--dtype=float8", 2, "invalid choice: 'float8'"),
    "negative seed": ("--seed=-1", 2, "must be from 0 to 4294967295"),
    "odd width": ("--width=25", 2, "width 25 is no multiple of the VAE factor 2; 24 would be"),
    "more frames than poses": ("--frames=10", 2, "has 9 frames, --frames asks for 10"),
    "no size": ("--poses-size=12", 2, "--poses_size: must be a size such as 1280x720, got '12'"),
    "anchor of nothing": ("--anchor=neck", 2, "--anchor has no effect without --reference_poses"),
    "person of an npz": ("--person=tracked", 2, "--person has no effect on an .npz, which holds"),
    "negative overlap": ("--overlap=-1", 2, "--overlap: must be at least 0, got -1"),
    "overlap of whole windows": ("--overlap=6", 2, "overlap must be from 0 to 5 in windows of 6"),
    "unknown sampler": ("--sampler=euler", 2, "invalid choice: 'euler'"),
    "unknown preset": ("--preset=best", 2, "invalid choice: 'best'"),
    "no cache interval": ("--feature-cache-interval=0", 2, "must be at least 1, got 0"),
    "unknown windows": ("--window-method=loop", 2, "invalid choice: 'loop'"),
    "unknown kind of video": ("--output=a.avi", 2, "a.avi: must end in .mp4 or .mov or .mkv"),
    # files that cannot be used: exit code 1
    "no reference": ("--reference=/none.png", 1, "/none.png: no such picture"),
    "unreadable reference": (
        lambda *a: f"--reference={text_file(*a, 'a.png')}", 1, "a.png: damaged, or no picture"
    ),
    "no poses file": ("--poses=/none.npz", 1, "/none.npz: no such file or folder of poses"),
    "empty folder of poses": (
        lambda *a: f"--poses={empty_folder(*a)}", 1, "holds no pictures and no *_keypoints.json"
    ),
    "poses of nobody": (lambda *a: f"--poses={poseless(*a)}", 1, "none.npz: no poses"),
    "broken keypoints": (lambda *a: f"--poses={text_file(*a, 'a.npz')}", 1, "not a readable .npz"),
    "broken skeleton video": (
        lambda *a: f"--poses={text_file(*a, 'a.mp4')}", 1, "a.mp4: no video that can be read"
    ),
    "no weights": ("--weights=/none", 1, "/none/config.json: no such file"),
    "weights without config": (lambda *a: f"--weights={no_config(*a)}", 1, "config.json: no such"),
    "truncated weights": (
        lambda *a: f"--weights={truncated(*a)}", 1, "denoising_unet.safetensors: truncated"
    ),
    "weights of another architecture": (
        lambda *a: f"--weights={other_architecture(*a)}",
        1,
        "reference_unet.safetensors: weights of another architecture",
    ),
    "output under a file": (
        lambda *a: f"--output={text_file(*a, 'file')}/a.mp4", 1, "file/a.mp4: cannot be written"
    ),
    "output is a folder": (
        lambda files, tmp_path: f"--output={shutil.copytree(files, tmp_path / 'a.mp4')}",
        1,
        "a.mp4: cannot be written (is a folder)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line(name, sample, files, tmp_path, capsys):
    flag, code, message = MISTAKES[name]
    assert sample(flag if isinstance(flag, str) else flag(files, tmp_path)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert not list(tmp_path.rglob("video*"))


def test_full_disk_leaves_no_half_made_video(sample, tmp_path, capsys, monkeypatch):
    # given a disk that fills up while the video is written
    def write(path, frames, fps):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("PIL.Image.Image.save", lambda self, path, **kwargs: write(path, 0, 0))
    monkeypatch.setattr("aa_jax.media.video.write_video", lambda *args, **kwargs: None)
    assert sample("--gif", "--frames=4") == 1
    assert "video.gif: cannot be written (No space left on device)" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_out_of_memory_is_said(sample, capsys, monkeypatch):
    def fail(flags):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")

    monkeypatch.setattr(cli, "run", fail)
    assert sample() == 1
    assert "error: out of memory; try fewer frames" in capsys.readouterr().err


def test_help_is_quick_and_teaches():
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "sample.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert time.perf_counter() - start < 30  # a loaded machine; what matters is the next line
    assert not any(
        line.split("|")[-1].strip() in ("jax", "torch", "diffusers", "av")
        for line in done.stderr.splitlines()
    )
    flags = (
        "weights reference poses output width height frames steps guidance_scale seed dtype "
        "window_method overlap resume gif side_by_side preset sampler feature_cache_interval"
    )
    for flag in flags.split():
        assert f"--{flag}" in done.stdout
    assert "python sample.py --reference me.png" in done.stdout
