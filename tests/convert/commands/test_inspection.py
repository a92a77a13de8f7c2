"""A file's family is told, and the command that converts it."""

import numpy as np
from safetensors.numpy import save_file


def test_inspect_tells_family_and_command(run, moore, diffusers):
    file = run("inspect", moore / "motion_module.pth", "--tensors")
    folder = run("inspect", diffusers / "unet")

    assert (file.code, folder.code) == (0, 0)
    assert "AnimateDiff v2 motion module" in file.out
    assert f"python -m convert animatediff {moore / 'motion_module.pth'} --output DIR" in file.out
    assert "temporal_transformer.proj_in.weight  [16, 16]  float16" in file.out
    assert "Stable Diffusion 1.x, diffusers UNet" in folder.out


def test_inspect_ends_with_1_for_what_cannot_be_used(run, tmp_path):
    save_file({"layer.weight": np.zeros((2, 3), np.float32)}, tmp_path / "x.safetensors")

    end = run("inspect", tmp_path / "x.safetensors")

    assert end.code == 1
    assert "unknown" in end.out
    assert "1 tensors (1 float32), 0.0 M numbers" in end.out
