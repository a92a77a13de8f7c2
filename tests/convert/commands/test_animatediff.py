"""Motion modules of another version or architecture are refused."""

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

from aa_jax import weights


def test_parts_of_another_architecture_are_refused(run, partial, diffusers, tmp_path):
    # given motion modules for other UNets than the directory's
    source = tmp_path / "in"
    shutil.copytree(diffusers / "motion_adapter", source)
    path = source / "diffusion_pytorch_model.safetensors"
    state = {k: x[..., :-1] if k.endswith("norm.bias") else x for k, x in load_file(path).items()}
    save_file(state, path)

    end = run("animatediff", source, "--output", partial)

    assert end.code == 1
    assert "norm.bias [15] where [16] is wanted" in end.refusal
    assert "motion_module" not in weights.networks(partial)


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_another_motion_module_version_is_refused(run, moore, tmp_path, version):
    path = moore / "motion_module.pth"

    end = run("animatediff", path, "--version", version, "--output", tmp_path / "out")

    assert end.code == 1
    assert f"is not AnimateDiff {version}" in end.refusal


def test_another_motion_module_than_the_architectures_is_refused(run, moore, directory, tmp_path):
    values = json.loads((directory / "config.json").read_text())
    values["model"]["motion_module"]["max_positions"] = 24
    architecture = tmp_path / "config.json"
    architecture.write_text(json.dumps(values))
    path, out = moore / "motion_module.pth", tmp_path / "out"

    end = run("animatediff", path, "--architecture", architecture, "--output", out)

    assert end.code == 1
    assert "where 24 positions are wanted (model.motion_module.max_positions)" in end.refusal
