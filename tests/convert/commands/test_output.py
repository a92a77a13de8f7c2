"""Commands add whole networks to weights directories, and say where they come from; or nothing."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aa_jax import files, weights
from convert.writing import assembly


def test_provenance_names_every_source(convert, diffusers, tmp_path):
    out = tmp_path / "out"
    convert("image-encoder", diffusers / "image_encoder", "--output", out)

    entry = json.loads((out / "config.json").read_text())["provenance"]["sources"][0]

    file = diffusers / "image_encoder" / "model.safetensors"
    assert entry == {
        "networks": ["image_encoder"],
        "file": "model.safetensors",
        "sha256": files.sha256(file),
        "dtype": ["float16"],
        "command": "image-encoder",
    }
    assert len(entry["sha256"]) == 64


# --- directories that hold something ------------------------------------------------------------


def test_a_partial_directory_says_what_is_missing(partial):
    with pytest.raises(weights.WeightsError) as error:
        weights.load(partial)
    assert "image_encoder.safetensors: no such file" in str(error.value)
    assert "holds vae, reference_unet, denoising_unet, without image_encoder, pose_guider" in str(
        error.value
    )
    _, params = weights.load(partial, networks=["vae", "denoising_unet"])
    assert set(params) == {"vae", "denoising_unet"}


def test_training_takes_the_named_networks(partial, directory):
    model = weights.load_config(directory).model
    _, params = weights.load(
        partial, model=model, networks=("vae", "reference_unet", "denoising_unet")
    )
    assert set(params) == {"vae", "reference_unet", "denoising_unet"}


def test_networks_that_are_there_need_overwrite(run, partial, diffusers):
    arguments = ("stable-diffusion", diffusers / "vae", "--output", partial)
    before = (partial / "vae.safetensors").read_bytes()

    without, with_flag = run(*arguments), run(*arguments, "--overwrite")

    assert without.code == 1
    assert "holds vae already; choose another --output or --overwrite" in without.refusal
    assert with_flag.code == 0
    assert (partial / "vae.safetensors").read_bytes() == before
    sources = weights.load_config(partial).provenance["sources"]
    assert sorted(n for entry in sources for n in entry["networks"]) == [
        "denoising_unet",
        "reference_unet",
        "vae",
    ]


def test_a_directory_of_something_else_is_left_alone(run, diffusers, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    end = run("stable-diffusion", diffusers, "--output", tmp_path)

    assert end.code == 1
    assert "exists and is no weights directory" in end.refusal
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# --- what must not be written, and what cannot --------------------------------------------------


def changed(folder, target, change):
    """A copy of a folder of safetensors with one tensor changed."""
    shutil.copytree(folder, target)
    path = next(target.glob("*.safetensors"))
    state = load_file(path)
    change(state)
    save_file(state, path)
    return target


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_numbers_are_refused_and_nothing_is_left(run, diffusers, tmp_path, bad):
    def change(state):
        state["vision_model.post_layernorm.bias"][3] = bad

    source = changed(diffusers / "image_encoder", tmp_path / "clip", change)
    arguments = ("image-encoder", source, "--output", tmp_path / "out")

    end = run(*arguments)

    assert end.code == 1
    assert "post_layernorm.bias holds 1 NaN or infinite of 16 numbers" in end.refusal
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]

    assert run(*arguments, "--allow-nonfinite").code == 0
    state = load_file(tmp_path / "out" / "image_encoder.safetensors")
    assert not np.isfinite(state["vision_model.post_layernorm.bias"][3])


def test_a_full_disk_is_said_before_the_work(run, diffusers, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    end = run("image-encoder", diffusers, "--output", tmp_path / "out")

    assert end.code == 1
    assert "GiB are needed" in end.refusal
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(run, diffusers, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assembly.writer, "write_safetensors", full)

    end = run("image-encoder", diffusers, "--output", tmp_path / "out")

    assert end.code == 1
    assert "No space left on device" in end.refusal
    assert not list(tmp_path.iterdir())
