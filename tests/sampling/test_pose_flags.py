"""A flag about poses does what it says, or is refused in one line."""

import json

import numpy as np
import pose_files as tools
import pytest
from PIL import Image

from aa_jax.config import ConfigError
from aa_jax.pose.keypoints import Keypoints
from aa_jax.sampling import pose_flags
from aa_jax.sampling.request import PoseSource

FLAGS = {
    "person": "tracked",
    "smoothing": "one_euro",
    "poses_size": (320, 480),
    "detector": "auto",
    "dwpose": "models",
    "reference_poses": "me.npz",
    "retargeting": "bones",
    "anchor": "neck",
}


@pytest.fixture
def paths(tmp_path):
    """Poses of every kind."""
    body = np.tile(tools.BODY, (2, 1, 1))
    Keypoints(body, np.ones((2, 18)), width=320, height=480, fps=12).save(tmp_path / "a.npz")
    (tmp_path / "a.json").write_text(json.dumps(tools.EXAMPLES["comfyui"]))
    for folder in ("json", "pictures", "both"):
        (tmp_path / folder).mkdir()
        if folder != "pictures":
            (tmp_path / folder / "0.json").write_text(json.dumps(tools.EXAMPLES["openpose"]))
        if folder != "json":
            Image.new("RGB", (8, 8)).save(tmp_path / folder / "0.png")
    (tmp_path / "a.mp4").touch()
    return tmp_path


WORKS = {
    "a.npz": {"smoothing", "reference_poses"},
    "a.json": {"person", "smoothing", "poses_size", "reference_poses"},
    "json": {"person", "smoothing", "poses_size", "reference_poses"},
    "pictures": set(),
    "a.mp4": set(),
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", WORKS)
def test_flags_on_poses(name, flag, paths):
    source = PoseSource(path=paths / name, **{flag: FLAGS[flag]})
    if flag in WORKS[name]:
        pose_flags.check(source)
        return
    with pytest.raises(ConfigError, match=f"^--{flag} has no effect ") as caught:
        pose_flags.check(source)
    assert "\n" not in str(caught.value)


def test_nothing_asked_for_is_fine(paths):
    for name in WORKS:
        pose_flags.check(PoseSource(path=paths / name))


def test_fitting_needs_a_body_to_fit_to(paths):
    fitted = {"path": paths / "a.json", "reference_poses": paths / "a.npz"}
    pose_flags.check(PoseSource(**fitted, retargeting="bones", anchor="ground"))
    for wrong in (
        {"retargeting": "none"},
        {"retargeting": "affine", "anchor": "neck"},
    ):
        with pytest.raises(ConfigError, match="has no effect with --retargeting"):
            pose_flags.check(PoseSource(**fitted, **wrong))


def test_driving_takes_all_but_a_canvas(paths):
    flags = {name: value for name, value in FLAGS.items() if name != "poses_size"}
    pose_flags.check(PoseSource(path=paths / "a.npz", driving=paths / "a.mp4", **flags))
    with pytest.raises(ConfigError, match="--poses_size has no effect on --driving"):
        pose_flags.check(PoseSource(path=paths, driving=paths / "a.mp4", poses_size=(1, 1)))


def test_the_two_detectors_flags_exclude_each_other(paths):
    video = {"path": paths, "driving": paths / "a.mp4"}
    pose_flags.check(PoseSource(**video, detector="blazepose", pose_models="models"))
    with pytest.raises(ConfigError, match="--dwpose has no effect with --pose-models"):
        pose_flags.check(PoseSource(**video, dwpose="a", pose_models="b"))


def test_a_folder_of_two_kinds_is_refused(paths):
    with pytest.raises(ConfigError, match=r"holds both pictures and \.json files"):
        pose_flags.kind_of(paths / "both")
