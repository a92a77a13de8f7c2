"""Every command takes the published checkpoints, at full size, by names and shapes alone."""

import pytest

from aa_jax.config import MotionModuleConfig
from convert.writing import assembly, transfer


@pytest.fixture
def planned(monkeypatch, convert):
    """Runs a command up to writing; returns its plans by network, and the directory's config."""
    seen = {}

    def capture(directory, parts, config, **_):
        seen.update(config=config, parts={part.network: part for part in parts})

    monkeypatch.setattr(assembly, "add", capture)

    def run(*argv):
        convert(*argv)
        model = seen["config"].model
        for name, part in seen["parts"].items():
            wanted = {".".join(path): shape for path, shape in transfer.shapes(name, model)}
            assert {key: tensor.shape for key, tensor in part.tensors.items()} == wanted
        return seen["parts"], seen["config"]

    return run


def test_single_file_with_average_and_text_encoder(planned, sparse, manifest, tmp_path):
    path = sparse(tmp_path / "v1-5-pruned.safetensors", manifest("v1-5-pruned"))

    parts, _ = planned("stable-diffusion", path, "--output", tmp_path / "out")

    assert set(parts) == {"vae", "reference_unet", "denoising_unet"}
    # every tensor of the file is used or has a reason
    report = parts["denoising_unet"].report
    assert (report.used, report.used + len(report.ignored)) == (686, len(manifest("v1-5-pruned")))
    assert report.parameters == 859_520_964
    assert parts["vae"].report.parameters == 83_653_863
    assert parts["reference_unet"].report.ignored["conv_out.weight"] == (
        "the ReferenceNet has no output layers"
    )

    parts, _ = planned("stable-diffusion", path, "--ema", "--output", tmp_path / "out")
    report = parts["denoising_unet"].report
    assert "model_ema.diffusion_modelout2bias" not in report.ignored
    assert "model.diffusion_model.out.2.bias" in report.ignored


def test_diffusers_folders(planned, sparse, manifest, tmp_path):
    sparse(
        tmp_path / "sd" / "unet" / "diffusion_pytorch_model.fp16.safetensors",
        manifest("sd15_unet"),
    )
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = manifest("sd15_vae")
    for new, name in old.items():  # as sd-vae-ft-mse's file spells them
        vae = {key.replace(f".{new}.", f".{name}."): shape for key, shape in vae.items()}
    sparse(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", vae)

    parts, _ = planned(
        "stable-diffusion", tmp_path / "sd", "--vae", tmp_path / "vae", "--output", tmp_path / "out"
    )

    assert {name: part.report.used for name, part in parts.items()} == {
        "vae": 248,
        "reference_unet": 682,
        "denoising_unet": 686,
    }
    assert not parts["vae"].report.ignored


@pytest.mark.parametrize("name", ["clip_vision", "clip_full"])
def test_clip(planned, sparse, manifest, tmp_path, name):
    shapes = manifest(name)
    path = sparse(tmp_path / "model.safetensors", shapes)

    parts, _ = planned("image-encoder", path, "--output", tmp_path / "out")

    report = parts["image_encoder"].report
    assert report.used == 392
    assert report.used + len(report.ignored) == len(shapes)
    assert report.parameters == 303_966_208


@pytest.mark.parametrize(
    ("name", "positions", "mid_block", "scope"),
    [
        ("mm_sd_v15", 24, False, "over_frames"),
        ("mm_sd_v15_v2", 32, True, "per_frame"),
        ("v3_sd15_mm", 32, False, "per_frame"),
        ("motion_adapter_v2", 32, True, "per_frame"),
        ("motion_adapter_v3", 32, False, "per_frame"),
    ],
)
def test_animatediff(planned, sparse, manifest, tmp_path, name, positions, mid_block, scope):
    shapes = {f"module.{key}": shape for key, shape in manifest(name).items()}
    path = sparse(tmp_path / "mm.safetensors", shapes)

    parts, config = planned("animatediff", path, "--output", tmp_path / "out")

    assert config.model.motion_module == MotionModuleConfig(
        max_positions=positions, mid_block=mid_block
    )
    assert config.model.unet.group_norm_scope == scope
    assert parts["motion_module"].report.used == 26 * (21 if mid_block else 20)


def test_openpose_controlnet(planned, sparse, manifest, tmp_path):
    path = sparse(tmp_path / "control.safetensors", manifest("controlnet_openpose"))

    parts, config = planned("controlnet-openpose", path, "--output", tmp_path / "out")

    assert config.model.pose_guider.block_out_channels == (16, 32, 96, 256)
    assert parts["pose_guider"].report.used == 16


@pytest.mark.parametrize(
    ("name", "projection", "tokens", "parameters"),
    [
        ("ip-adapter_sd15", "linear", 4, 22_319_616),
        ("ip-adapter-plus_sd15", "resampler", 16, 49_087_488),
    ],
)
def test_sd_i2v(planned, sparse, manifest, tmp_path, name, projection, tokens, parameters):
    files = {
        "controlnet": manifest("controlnet_openpose"),
        "ip-adapter": manifest(name),
        "motion-module": manifest("mm_sd_v15"),
        "prompt": {"prompt_embeds": (1, 77, 768)},
    }
    flags = [
        text
        for flag, shapes in files.items()
        for text in (f"--{flag}", sparse(tmp_path / f"{flag}.safetensors", shapes))
    ]

    parts, config = planned("sd-i2v", *flags, "--output", tmp_path / "out")

    model = config.model
    assert parts["ip_adapter"].report.parameters == parameters
    assert not parts["pose_controlnet"].report.ignored
    assert (model.ip_adapter.projection, model.ip_adapter.tokens) == (projection, tokens)
    assert model.image_encoder.projection_dim == 1024
    assert model.unet.group_norm_scope == "over_frames"  # AnimateDiff v1
    assert config.schedule.beta_schedule == "linear"


def moore_files(sparse, manifest, folder, motion):
    unet = manifest("sd15_unet")
    reference = {key: s for key, s in unet.items() if not key.startswith(("conv_norm", "conv_out"))}
    sparse(folder / "denoising_unet.safetensors", unet)
    sparse(folder / "reference_unet.safetensors", reference)
    sparse(folder / "motion_module.safetensors", motion)
    sparse(folder / "pose_guider.safetensors", manifest("moore_pose_guider"))
    sparse(folder / "sd-vae-ft-mse" / "model.safetensors", manifest("sd15_vae"))
    sparse(folder / "image_encoder" / "model.safetensors", manifest("clip_vision"))


def test_moore_animate_anyone(planned, sparse, manifest, tmp_path):
    moore_files(sparse, manifest, tmp_path / "moore", manifest("mm_sd_v15_v2"))

    parts, config = planned("animate-anyone", tmp_path / "moore", "--output", tmp_path / "out")

    assert len(parts) == 6
    assert config.schedule.prediction_type == "v_prediction"
    assert config.schedule.beta_schedule == "linear"
    assert config.schedule.rescale_betas_zero_snr
    assert config.schedule.timestep_spacing == "trailing"
    assert config.skeleton.face
    assert config.sampling.guidance_scale == 3.5
    assert config.sampling.window_method == "uniform"
    assert (config.sampling.window_frames, config.sampling.window_overlap) == (24, 4)


def test_musepose_is_told_by_its_128_positions(planned, sparse, manifest, tmp_path):
    motion = {
        key: (1, 128, shape[2]) if key.endswith(".pe") else shape
        for key, shape in manifest("mm_sd_v15_v2").items()
    }
    moore_files(sparse, manifest, tmp_path / "muse", motion)

    _, config = planned("animate-anyone", tmp_path / "muse", "--output", tmp_path / "out")

    assert config.model.motion_module.max_positions == 128
    assert config.sampling.window_frames == 48
    assert not config.skeleton.face
