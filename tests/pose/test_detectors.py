"""Which detector is taken."""

import sys

import pytest

from aa_jax.config import ConfigError
from aa_jax.pose import (
    blazepose_detector,
    blazepose_models,
    blazepose_networks,
    dwpose_networks,
)
from aa_jax.pose.detectors import DetectionError, check_flags, open_detector


@pytest.fixture(autouse=True)
def named(monkeypatch):
    """Detectors that are their names."""
    monkeypatch.delenv("AA_JAX_DWPOSE_DIR", raising=False)
    monkeypatch.setattr(dwpose_networks, "model_files", lambda folder: (folder, "pose"))
    monkeypatch.setattr(dwpose_networks, "DWPose", lambda *files, **_: ("dwpose", files[0]))
    monkeypatch.setattr(blazepose_networks, "litert", lambda: None)
    monkeypatch.setattr(blazepose_models, "find_models", lambda source, report: source)
    monkeypatch.setattr(blazepose_detector, "BlazePose", lambda files, **_: ("blazepose", files))


def test_auto_takes_dwpose_where_its_files_are_given(monkeypatch):
    assert open_detector() == ("blazepose", None)
    assert open_detector("auto", dwpose="models") == ("dwpose", "models")
    monkeypatch.setenv("AA_JAX_DWPOSE_DIR", "models")
    assert open_detector("auto") == ("dwpose", None)
    assert open_detector("auto", pose_models="wheel") == ("blazepose", "wheel")


def test_the_one_asked_for(monkeypatch):
    assert open_detector("dwpose") == ("dwpose", None)
    monkeypatch.setenv("AA_JAX_DWPOSE_DIR", "models")
    assert open_detector("blazepose", pose_models="m") == ("blazepose", "m")


def test_nothing_is_fetched_for_a_runtime_that_is_missing(monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("AA_JAX_DWPOSE_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr(blazepose_models, "fetch", pytest.fail)
    with pytest.raises(DetectionError, match=r"ai-edge-litert is missing.*aa_jax\[pose\]"):
        open_detector()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("blazepose", "m", None), "--dwpose has no effect with --detector blazepose"),
        (("auto", "m", "n"), "--dwpose has no effect with --pose-models"),
        (("dwpose", None, "n"), "--pose-models has no effect with --detector dwpose"),
    ],
)
def test_flags_of_the_other_one_are_refused(flags, message):
    with pytest.raises(ConfigError, match=message):
        check_flags(*flags)
