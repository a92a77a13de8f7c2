"""Command lines from files to weights directories and back, with a tiny model."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from aa_jax import files, weights
from aa_jax.config import NETWORKS
from convert.__main__ import main
from convert.writing import assembly


def same(a, b, names=NETWORKS):
    """Whether two weights directories hold the same bits."""
    for name in names:
        x, y = (load_file(folder / f"{name}.safetensors") for folder in (a, b))
        assert x.keys() == y.keys()
        for key in x:
            assert x[key].dtype == y[key].dtype, key
            assert x[key].tobytes() == y[key].tobytes(), key
    return True


def test_the_four_files_and_back_are_the_identity(convert, directory, moore, tmp_path):
    out = convert("animate-anyone", moore, "--output", tmp_path / "again")

    assert same(directory, tmp_path / "again")
    before, after = weights.load_config(directory), weights.load_config(tmp_path / "again")
    for field in ("model", "schedule", "skeleton", "sampling"):
        assert getattr(after, field) == getattr(before, field)
    assert "peak memory" in out
    # and once more: the PyTorch files come out as they went in
    convert("export", tmp_path / "again", "--output", tmp_path / "moore")
    for name in ("denoising_unet", "reference_unet", "motion_module", "pose_guider"):
        first, second = (torch.load(f / f"{name}.pth") for f in (moore, tmp_path / "moore"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_diffusers_folders_and_back_are_the_identity(convert, directory, diffusers, tmp_path):
    out = tmp_path / "again"
    convert("stable-diffusion", diffusers, "--output", out)
    convert("image-encoder", diffusers, "--output", out)
    convert("animatediff", diffusers / "motion_adapter", "--output", out)

    names = ("vae", "image_encoder", "denoising_unet", "motion_module")
    assert weights.networks(out) == tuple(n for n in NETWORKS if n != "pose_guider")
    assert same(directory, out, names)
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


# --- adding to directories ----------------------------------------------------------------------


@pytest.fixture
def partial(convert, diffusers, tmp_path):
    """A directory with VAE and UNets only."""
    out = tmp_path / "partial"
    convert("stable-diffusion", diffusers, "--output", out)
    return out


def test_a_partial_directory_says_what_is_missing(partial):
    with pytest.raises(weights.WeightsError) as error:
        weights.load(partial)
    assert "image_encoder.safetensors: no such file" in str(error.value)
    assert "holds vae, reference_unet, denoising_unet, without image_encoder, pose_guider" in str(
        error.value
    )
    _, params = weights.load(partial, networks=["vae", "denoising_unet"])
    assert set(params) == {"vae", "denoising_unet"}


def test_networks_that_are_there_need_overwrite(convert, refused, partial, diffusers):
    before = (partial / "vae.safetensors").read_bytes()

    message = refused("stable-diffusion", diffusers / "vae", "--output", partial)
    assert "holds vae already; choose another --output or --overwrite" in message

    convert("stable-diffusion", diffusers / "vae", "--output", partial, "--overwrite")
    assert (partial / "vae.safetensors").read_bytes() == before
    sources = weights.load_config(partial).provenance["sources"]
    assert sorted(n for entry in sources for n in entry["networks"]) == [
        "denoising_unet",
        "reference_unet",
        "vae",
    ]


def test_a_directory_of_something_else_is_left_alone(refused, diffusers, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = refused("stable-diffusion", diffusers, "--output", tmp_path)
    assert "exists and is no weights directory" in message
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_parts_of_another_architecture_are_refused(refused, partial, diffusers, tmp_path):
    # given motion modules for other UNets than the directory's
    source = tmp_path / "in"
    shutil.copytree(diffusers / "motion_adapter", source)
    path = source / "diffusion_pytorch_model.safetensors"
    state = {k: x[..., :-1] if k.endswith("norm.bias") else x for k, x in load_file(path).items()}
    save_file(state, path)

    message = refused("animatediff", source, "--output", partial)

    assert "norm.bias [15] where [16] is wanted" in message
    assert "motion_module" not in weights.networks(partial)


def test_an_encoder_of_another_width_is_refused(refused, partial, diffusers, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(diffusers / "image_encoder", source)
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(values | {"projection_dim": 20}))

    message = refused("image-encoder", source, "--output", partial)

    assert "do not fit together: model.unet.cross_attention_dim=16 must equal" in message


def test_training_takes_the_named_networks(partial, directory):
    model = weights.load_config(directory).model
    _, params = weights.load(
        partial, model=model, networks=("vae", "reference_unet", "denoising_unet")
    )
    assert set(params) == {"vae", "reference_unet", "denoising_unet"}


# --- bad input ----------------------------------------------------------------------------------


def changed(folder, target, change):
    """A copy of a folder of safetensors with one tensor changed."""
    shutil.copytree(folder, target)
    path = next(target.glob("*.safetensors"))
    state = load_file(path)
    change(state)
    save_file(state, path)
    return target


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_numbers_are_refused_and_nothing_is_left(
    convert, refused, diffusers, tmp_path, bad
):
    def change(state):
        state["vision_model.post_layernorm.bias"][3] = bad

    source = changed(diffusers / "image_encoder", tmp_path / "clip", change)
    arguments = ("image-encoder", source, "--output", tmp_path / "out")

    message = refused(*arguments)
    assert "post_layernorm.bias holds 1 NaN or infinite of 16 numbers" in message
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]

    convert(*arguments, "--allow-nonfinite")
    state = load_file(tmp_path / "out" / "image_encoder.safetensors")
    assert not np.isfinite(state["vision_model.post_layernorm.bias"][3])


def test_a_full_disk_is_said_before_the_work(refused, diffusers, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    message = refused("image-encoder", diffusers, "--output", tmp_path / "out")
    assert "GiB are needed" in message
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(refused, diffusers, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assembly.writer, "write_safetensors", full)
    message = refused("image-encoder", diffusers, "--output", tmp_path / "out")
    assert "No space left on device" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("motion_module.pth", "holds no motion_module.pth"),
        ("sd-vae-ft-mse", "no VAE there or one folder up; name it with --vae"),
        ("image_encoder", "no image encoder there or one folder up; name it with --image-encoder"),
    ],
)
def test_missing_parts_are_named(refused, moore, tmp_path, name, message):
    source = tmp_path / "in" / "moore"
    shutil.copytree(moore, source, ignore=shutil.ignore_patterns(name))
    assert message in refused("animate-anyone", source, "--output", tmp_path / "out")


def test_champs_networks_convert_without_its_guidance_encoders(convert, refused, moore, tmp_path):
    source = tmp_path / "champ"
    shutil.copytree(moore, source, ignore=shutil.ignore_patterns("pose_guider*"))
    (source / "guidance_encoder_depth.pth").touch()
    arguments = ("animate-anyone", source, "--output", tmp_path / "out")

    assert "guidance encoders have attention layers" in refused(*arguments)

    convert(*arguments, "--networks=reference_unet,denoising_unet,motion_module")
    assert weights.networks(tmp_path / "out") == (
        "reference_unet",
        "denoising_unet",
        "motion_module",
    )


def test_swapped_files_are_named(refused, moore, tmp_path):
    source = tmp_path / "moore"
    shutil.copytree(moore, source)
    (source / "reference_unet.pth").unlink()
    shutil.copy(source / "pose_guider.pth", source / "reference_unet.pth")
    message = refused("animate-anyone", source, "--output", tmp_path / "out")
    assert "reference_unet.pth: is Pose Guider" in message


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_another_motion_module_version_is_refused(refused, moore, tmp_path, version):
    path = moore / "motion_module.pth"
    message = refused("animatediff", path, "--version", version, "--output", tmp_path / "out")
    assert f"is not AnimateDiff {version}" in message


def test_another_motion_module_than_the_architectures_is_refused(
    refused, moore, directory, tmp_path
):
    values = json.loads((directory / "config.json").read_text())
    values["model"]["motion_module"]["max_positions"] = 24
    (tmp_path / "config.json").write_text(json.dumps(values))
    message = refused(
        "animatediff",
        moore / "motion_module.pth",
        "--architecture",
        tmp_path / "config.json",
        "--output",
        tmp_path / "out",
    )
    assert "where 24 positions are wanted (model.motion_module.max_positions)" in message


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["inspect"],
        ["image-encoder", "x"],
        ["image-encoder", "x", "--output", "y", "--no-such-flag"],
        ["animate-anyone", "x", "--output", "y", "--networks", "vae,unet"],
        ["animatediff", "x", "--output", "y", "--motion-lora", "x:nan"],
    ],
)
def test_mistakes_in_the_flags_end_with_2(refused, arguments):
    refused(*arguments, code=2)


@pytest.mark.parametrize("command", ["", "stable-diffusion", "animatediff", "export", "inspect"])
def test_help_teaches_by_example(convert, command):
    out = convert(*command.split(), "--help")
    assert "examples:\n" in out
    assert f"python -m convert {command}" in out


# --- ControlNet, inspection ---------------------------------------------------------------------


@pytest.mark.parametrize("single_file", [False, True])
def test_openpose_controlnet_starts_a_pose_guider(convert, manifest, tmp_path, single_file):
    rng = np.random.default_rng(0)
    hint = "controlnet_cond_embedding."
    shapes = {key: s for key, s in manifest("controlnet_openpose").items() if key.startswith(hint)}
    source = {key: rng.standard_normal(s).astype(np.float32) for key, s in shapes.items()}
    state = dict(source)
    if single_file:  # conv_in, 6 blocks, conv_out are the even layers of a sequence
        order = ["conv_in", *(f"blocks.{i}" for i in range(6)), "conv_out"]
        state = {
            f"control_model.input_hint_block.{2 * i}.{leaf}": source[f"{hint}{name}.{leaf}"]
            for i, name in enumerate(order)
            for leaf in ("weight", "bias")
        }
    save_file(
        state | {"zero_convs.0.0.weight": np.zeros(3, np.float32)}, tmp_path / "c.safetensors"
    )

    out = convert("controlnet-openpose", tmp_path / "c.safetensors", "--output", tmp_path / "out")

    assert "1 (ControlNet's copy of the UNet)" in out
    _, params = weights.load(tmp_path / "out", networks=["pose_guider"])
    guider = params["pose_guider"]
    np.testing.assert_array_equal(
        guider["blocks_3"]["kernel"].transpose(3, 2, 0, 1), source[f"{hint}blocks.3.weight"]
    )
    assert not guider["conv_out"]["kernel"].any()

    convert(
        "controlnet-openpose",
        tmp_path / "c.safetensors",
        "--keep-output",
        "--output",
        tmp_path / "kept",
    )
    _, params = weights.load(tmp_path / "kept", networks=["pose_guider"])
    np.testing.assert_array_equal(
        params["pose_guider"]["conv_out"]["bias"], source[f"{hint}conv_out.bias"]
    )


def test_inspect_tells_family_and_command(convert, moore, diffusers):
    out = convert("inspect", moore / "motion_module.pth", "--tensors")
    assert "AnimateDiff v2 motion module" in out
    assert f"python -m convert animatediff {moore / 'motion_module.pth'} --output DIR" in out
    assert "temporal_transformer.proj_in.weight  [16, 16]  float16" in out
    out = convert("inspect", diffusers / "unet")
    assert "Stable Diffusion 1.x, diffusers UNet" in out


def test_inspect_ends_with_1_for_what_cannot_be_used(capsys, tmp_path):
    save_file({"layer.weight": np.zeros((2, 3), np.float32)}, tmp_path / "x.safetensors")
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 1
    out = capsys.readouterr().out
    assert "unknown" in out
    assert "1 tensors (1 float32), 0.0 M numbers" in out
