"""Weights of eight bits are refused by name before any work, and `inspect` says so."""

import shutil

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aa_jax import weights
from convert import ConvertError
from convert.__main__ import main
from convert.reading.sources import open_source

KINDS = (torch.float8_e4m3fn, torch.float8_e5m2)


def shortened(state, dtype, *, scaled=False):
    """A state dict with its matrices in eight bits, as several programs write them."""
    short = {key: x.to(dtype) if x.ndim > 1 else x for key, x in state.items()}
    if scaled:
        scales = {f"{key}_scale": torch.ones(()) for key, x in state.items() if x.ndim > 1}
        short |= scales
    return short


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_inspect_and_commands_refuse_eight_bits(refused, capsys, moore, tmp_path, dtype, suffix):
    state = shortened(torch.load(moore / "motion_module.pth"), dtype)
    path = tmp_path / f"mm{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    name = str(dtype).removeprefix("torch.")

    assert main(["inspect", str(path), "--tensors"]) == 1
    out = capsys.readouterr().out
    assert "AnimateDiff v2 motion module" in out
    assert f"tensors are {name}; use the version in float16, bfloat16 or float32" in out
    assert "python -m convert" not in out

    line = refused("animatediff", path, "--output", tmp_path / "out")
    assert f"{path}: is AnimateDiff v2" in line
    assert name in line
    assert not (tmp_path / "out").exists()


def test_scales_beside_them_change_nothing(refused, capsys, diffusers, tmp_path):
    shutil.copytree(diffusers / "vae", tmp_path / "vae")
    (file,) = (tmp_path / "vae").glob("*.safetensors")
    save_file(shortened(load_file(file), KINDS[0], scaled=True), file)
    assert main(["inspect", str(tmp_path / "vae")]) == 1
    assert "tensors are float8_e4m3fn" in capsys.readouterr().out
    refused("stable-diffusion", tmp_path / "vae", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_weights_directory_of_eight_bits(refused, capsys, directory, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(directory, folder)
    save_file(
        shortened(load_file(folder / "vae.safetensors"), KINDS[0]), folder / "vae.safetensors"
    )
    assert main(["inspect", str(folder)]) == 1
    assert "cannot be used: vae:" in capsys.readouterr().out
    assert "float8_e4m3fn cannot be written" in refused(
        "export", folder, "--output", tmp_path / "o"
    )
    assert not (tmp_path / "o").exists()
    with pytest.raises(weights.WeightsError, match=r"vae\.safetensors: no numbers that are read"):
        weights.load(folder)


def test_pickled_numbers_of_eight_bits_are_read_as_they_are(tmp_path):
    values = torch.tensor([[0.0, 1.5], [-448.0, 0.001953125]])
    torch.save({"x": values.to(KINDS[0]), "y": values.bfloat16()}, tmp_path / "a.pth")
    source = open_source(tmp_path / "a.pth")
    for name, dtype in (("x", ml_dtypes.float8_e4m3fn), ("y", ml_dtypes.bfloat16)):
        assert source[name].dtype == dtype
        np.testing.assert_array_equal(source[name].read().astype(np.float32), values.numpy())
    torch.save({"z": torch.zeros(4, dtype=torch.float4_e2m1fn_x2)}, tmp_path / "b.pth")
    with pytest.raises(ConvertError, match=r"b\.pth: z has the unsupported dtype float4_e2m1fn_x2"):
        open_source(tmp_path / "b.pth")
