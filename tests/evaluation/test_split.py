"""A tiny random model on the test split of a dataset of puppets."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE, random_params
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError, SamplingConfig, SkeletonConfig
from aa_jax.data import dataset as datasets
from aa_jax.evaluation import batch, folders, split
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.evaluation.networks import Networks
from aa_jax.evaluation.output import Output
from aa_jax.metrics import protocols
from aa_jax.puppets import clips as puppets

LENGTHS = {"walk.mp4": 4, "test/wave.mp4": 4, "turn.mp4": 4, "long.mp4": 8}
"""Frames of the split's clips; windows of the tiny model have 6."""


@dataclasses.dataclass(frozen=True)
class PuppetVideo:
    """Stands for a clip of a dataset."""

    name: str
    puppet: puppets.PuppetClip
    size: tuple[int, int] = (64, 64)

    @property
    def length(self):
        return LENGTHS[self.name]

    def pictures(self, frames, size):
        return self.puppet.render(frames, *size)[0]

    def keypoints(self, frames, size):
        return self.puppet.keypoints(frames, *size)


class Split:
    """Stands for a dataset of which `prepare.py` wrote the split `test`."""

    def __len__(self):
        return len(LENGTHS)

    def clip(self, index):
        return PuppetVideo(list(LENGTHS)[index], puppets.make_clip("eval", 0, index))


@pytest.fixture(autouse=True)
def dataset(monkeypatch):
    monkeypatch.setattr(datasets, "open_dataset", lambda *_: Split())
    monkeypatch.setattr(datasets, "describe", lambda _: {"layout": "tiktok", "fingerprint": "f"})
    monkeypatch.setattr(Networks, "load", lambda *_, **__: Networks({}, {}, {}))


CONFIG = weights.WeightsConfig(
    model=MODEL,
    schedule=SCHEDULE,
    skeleton=SkeletonConfig(size=64),
    sampling=SamplingConfig(width=16, height=16, steps=1, guidance_scale=1.0),
)


class Painter(batch.Animator):
    """Paints skeletons over references instead of sampling; a mistake in batches shows in both."""

    def __call__(self, references, skeletons):
        assert len(references) <= self.batch_size
        painted = []
        for reference, poses in zip(references, skeletons, strict=True):
            pictures = poses[np.arange(len(poses))]
            painted.append(iter([np.where(pictures > 0, pictures, reference)]))
        return painted


@pytest.fixture
def painted(monkeypatch, tmp_path):
    """No weights: clips are painted."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(weights, "load", lambda _: (CONFIG, {}))
    monkeypatch.setattr(split, "Animator", Painter)
    return folder


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    weights.save(folder, CONFIG, random_params(MODEL))
    return folder


def config_of(protocol="puppets", mesh=None, **settings):
    config = tiny_config("split")
    evaluation = dataclasses.replace(config.eval, protocol=protocol, batch_size=2, **settings)
    mesh = dataclasses.replace(config.mesh, **(mesh or {}))
    return dataclasses.replace(config, eval=evaluation, mesh=mesh)


def run(folder, weights_dir, **changes):
    output = Output(json=folder / "figures.json")
    split.run(config_of(**changes), weights_dir=str(weights_dir), output=output, folder=folder)
    return json.loads((folder / "figures.json").read_text())


def pictures_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.png"))
    }


def check_that_it_goes_on(folder, weights_dir, capsys):
    figures = run(folder, weights_dir)
    assert figures["dataset"] == "tiktok"
    assert {clip["name"]: clip["frames"] for clip in figures["per_clip"]} == {
        "walk": 4, "test/wave": 4, "turn": 4, "long": 8,
    }  # fmt: skip
    made = pictures_of(folder / split.RESULTS)
    assert len(made) == 20
    for name in ("test/wave", "long"):  # one of a batch that is done otherwise, and a long one
        shutil.rmtree(folder / split.RESULTS / name)
    assert run(folder, weights_dir) == figures
    assert pictures_of(folder / split.RESULTS) == made
    assert "2 of 4 clips are there already" in capsys.readouterr().out


def test_an_interrupted_run_goes_on_to_the_same_figures(painted, tmp_path, capsys):
    check_that_it_goes_on(tmp_path / "run", painted, capsys)


@pytest.mark.slow  # compiles a model for short and for long clips
def test_an_interrupted_run_of_a_model_goes_on_to_the_same_figures(weights_dir, tmp_path, capsys):
    check_that_it_goes_on(tmp_path, weights_dir, capsys)


def test_what_was_made_is_a_folder_of_results_like_anybody_s(painted, tmp_path):
    run(tmp_path, painted)
    made = tmp_path / split.RESULTS
    scored, _ = folders.score(made, made, protocols.find("puppets"))
    assert scored.metrics["ssim"] == 1
    with pytest.raises(EvaluationError, match="made for protocol puppets, not disco_fixed"):
        folders.score(made, made, protocols.find("disco_fixed"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "with seed=0, not 1"),
        ({"protocol": "disco_fixed"}, "with protocol=puppets, not disco_fixed"),
    ],
)
def test_results_of_another_run_are_not_gone_on_with(changes, message, painted, tmp_path):
    run(tmp_path, painted, clips=1)
    with pytest.raises(EvaluationError, match=message):
        run(tmp_path, painted, clips=1, **changes)


def test_a_clip_shorter_than_the_protocol_is_named_before_the_work(painted, tmp_path):
    with pytest.raises(EvaluationError, match="clip walk has 4 frames, and protocol dreampose_ubc"):
        run(tmp_path / "run", painted, protocol="dreampose_ubc")
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_of_other_files_is_left_alone(painted, tmp_path):
    (tmp_path / split.RESULTS).mkdir()
    (tmp_path / split.RESULTS / "notes.txt").touch()
    with pytest.raises(EvaluationError, match=r"no results of evaluate\.py; give another --dump"):
        run(tmp_path, painted)


@pytest.mark.slow
def test_devices_share_clips_and_frames(weights_dir):
    """On 2 x 2 devices the frames are those of one device, to rounding."""
    found, params = weights.load(str(weights_dir))
    clips = split.true_clips(config_of(clips=2), protocols.find("puppets"))
    made = []
    for mesh in ({"data": 1}, {"data": 2, "context": 2}):
        animator = batch.Animator.of(config_of(mesh=mesh), found, params)
        (some,) = animator.batches(clips)
        made.append([np.concatenate(list(x)) for x in split.animate_batch(some, animator)])
    for one, four in zip(*made, strict=True):
        assert one.std() > 1
        assert np.abs(one.astype(int) - four).max() <= 1


def test_a_mesh_of_more_devices_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="needs 18 devices, there are 8"):
        batch.on_devices(config_of(mesh={"data": 9, "context": 2}).mesh)


def test_names_lose_their_suffix_unless_two_would_be_one(monkeypatch):
    monkeypatch.setitem(LENGTHS, "walk.mkv", 4)
    names = [clip.name for clip in split.true_clips(config_of(), protocols.find("puppets"))]
    assert names == ["walk.mp4", "test/wave", "turn", "long", "walk.mkv"]


def test_a_half_written_clip_is_not_there(tmp_path):
    def broken():
        yield np.zeros((2, 4, 4, 3), np.uint8)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        split.write_frames(tmp_path / "a", broken())
    assert not list(tmp_path.iterdir())


def test_a_clip_without_a_picture_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="clip a: every pixel of its 2 frames is the same"):
        split.write_frames(tmp_path / "a", iter([np.zeros((2, 4, 4, 3), np.uint8)]))
    assert not list(tmp_path.iterdir())
