"""What is exported is converted back to the same bits, and loaded by its own libraries."""

import hashlib

import numpy as np
import torch
from safetensors.numpy import load_file

from aa_jax import weights
from aa_jax.config import NETWORKS


def bits(directory, names=NETWORKS):
    """Dtype, shape and hash of every tensor of a weights directory."""
    return {
        (name, key): (str(x.dtype), x.shape, hashlib.sha256(x.tobytes()).hexdigest())
        for name in names
        for key, x in load_file(directory / f"{name}.safetensors").items()
    }


def test_the_four_files_and_back_are_the_identity(run, directory, moore, tmp_path):
    there = run("animate-anyone", moore, "--output", tmp_path / "again")
    back = run("export", tmp_path / "again", "--output", tmp_path / "moore")

    assert (there.code, back.code) == (0, 0)
    assert "peak memory" in there.out
    assert bits(tmp_path / "again") == bits(directory)
    before, after = weights.load_config(directory), weights.load_config(tmp_path / "again")
    for field in ("model", "schedule", "skeleton", "sampling"):
        assert getattr(after, field) == getattr(before, field)
    # and once more: the PyTorch files come out as they went in
    for name in ("denoising_unet", "reference_unet", "motion_module", "pose_guider"):
        first, second = (torch.load(f / f"{name}.pth") for f in (moore, tmp_path / "moore"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_diffusers_folders_and_back_are_the_identity(run, directory, diffusers, tmp_path):
    out = tmp_path / "again"
    ends = [
        run("stable-diffusion", diffusers, "--output", out),
        run("image-encoder", diffusers, "--output", out),
        run("animatediff", diffusers / "motion_adapter", "--output", out),
    ]

    assert [end.code for end in ends] == [0, 0, 0]
    names = ("vae", "image_encoder", "denoising_unet", "motion_module")
    assert weights.networks(out) == tuple(n for n in NETWORKS if n != "pose_guider")
    assert bits(out, names) == bits(directory, names)
    after = weights.load_config(out)
    assert after.schedule.prediction_type == "v_prediction"  # from scheduler/
    model = weights.load_config(directory).model
    assert (after.model.unet, after.model.autoencoder) == (model.unet, model.autoencoder)
    assert (after.model.image_encoder, after.model.motion_module) == (
        model.image_encoder,
        model.motion_module,
    )
    # both UNets start from one source
    reference = load_file(out / "reference_unet.safetensors")
    denoising = load_file(out / "denoising_unet.safetensors")
    assert denoising.keys() - reference.keys() == {
        f"{name}.{leaf}"
        for name, leaf in [
            ("conv_norm_out", "scale"),
            ("conv_norm_out", "bias"),
            ("conv_out", "kernel"),
            ("conv_out", "bias"),
        ]
    }
    assert all(np.array_equal(reference[key], denoising[key]) for key in reference)


def test_diffusers_and_transformers_load_what_is_exported(diffusers):
    from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    for kind, name in [
        (AutoencoderKL, "vae"),
        (UNet2DConditionModel, "unet"),
        (MotionAdapter, "motion_adapter"),
    ]:
        _, info = kind.from_pretrained(diffusers / name, output_loading_info=True)
        assert not info["missing_keys"], name
        assert not info["unexpected_keys"], name
    _, info = CLIPVisionModelWithProjection.from_pretrained(
        diffusers / "image_encoder", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
