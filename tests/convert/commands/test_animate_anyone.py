"""Models in files as Moore-AnimateAnyone's: what is missing or swapped is named."""

import shutil

import pytest

from aa_jax import weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("motion_module.pth", "holds no motion_module.pth"),
        ("sd-vae-ft-mse", "no VAE there or one folder up; name it with --vae"),
        ("image_encoder", "no image encoder there or one folder up; name it with --image-encoder"),
    ],
)
def test_missing_parts_are_named(run, moore, tmp_path, name, message):
    source = tmp_path / "in" / "moore"
    shutil.copytree(moore, source, ignore=shutil.ignore_patterns(name))

    end = run("animate-anyone", source, "--output", tmp_path / "out")

    assert end.code == 1
    assert message in end.refusal


def test_champs_networks_convert_without_its_guidance_encoders(run, moore, tmp_path):
    source = tmp_path / "champ"
    shutil.copytree(moore, source, ignore=shutil.ignore_patterns("pose_guider*"))
    (source / "guidance_encoder_depth.pth").touch()
    arguments = ("animate-anyone", source, "--output", tmp_path / "out")

    whole = run(*arguments)
    named = run(*arguments, "--networks=reference_unet,denoising_unet,motion_module")

    assert whole.code == 1
    assert "guidance encoders have attention layers" in whole.refusal
    assert named.code == 0
    assert weights.networks(tmp_path / "out") == (
        "reference_unet",
        "denoising_unet",
        "motion_module",
    )


def test_swapped_files_are_named(run, moore, tmp_path):
    source = tmp_path / "moore"
    shutil.copytree(moore, source)
    (source / "reference_unet.pth").unlink()
    shutil.copy(source / "pose_guider.pth", source / "reference_unet.pth")

    end = run("animate-anyone", source, "--output", tmp_path / "out")

    assert end.code == 1
    assert "reference_unet.pth: is Pose Guider" in end.refusal
