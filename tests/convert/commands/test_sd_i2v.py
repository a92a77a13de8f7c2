"""The baseline SD-I2V: in from public formats, and out again."""

import dataclasses

import numpy as np
import pytest
import tiny_model
import torch
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from aa_jax import config as config_lib
from aa_jax import weights
from convert.reading import prompt
from convert.reading.sources import open_source

MODEL = dataclasses.replace(
    tiny_model.MODEL,
    motion_module=config_lib.MotionModuleConfig(
        num_attention_heads=2, max_positions=32, norm_num_groups=8
    ),
    pose_guider=config_lib.PoseGuiderConfig(kind="whole_controlnet", block_out_channels=(4, 8)),
    image_encoder=dataclasses.replace(tiny_model.MODEL.image_encoder, projection_dim=24),
    reference=config_lib.ReferenceConfig(kind="ip_adapter"),
    prompt=config_lib.PromptConfig(tokens=5),
)
RESAMPLER = config_lib.IPAdapterConfig(
    projection="resampler", tokens=3, resampler_width=16, resampler_heads=1
)
MODELS = {"linear": MODEL, "resampler": dataclasses.replace(MODEL, ip_adapter=RESAMPLER)}
FLAGS = {
    "--stable-diffusion": "",
    "--controlnet": "pose_controlnet",
    "--ip-adapter": "ip_adapter.safetensors",
    "--image-encoder": "image_encoder",
    "--motion-module": "motion_adapter",
    "--prompt": "prompt.safetensors",
}


def saved(model, folder):
    """A weights directory with random numbers, float16."""
    rng = np.random.default_rng(0)
    params = {
        name: traverse_util.unflatten_dict(
            {
                path: rng.standard_normal(x.shape).astype(np.float16)
                for path, x in traverse_util.flatten_dict(tree).items()
            }
        )
        for name, tree in weights.abstract_params(model).items()
    }
    config = weights.WeightsConfig(
        model=model,
        schedule=config_lib.NoiseScheduleConfig(beta_schedule="linear", set_alpha_to_one=True),
        skeleton=config_lib.SkeletonConfig(),
        sampling=config_lib.SamplingConfig(),
    )
    weights.save(folder, config, params, dtype=np.float16)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folders and files that `export` writes, by the kind of image projection."""
    from convert.__main__ import main

    folders = {}
    for name, model in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        argv = ["export", str(saved(model, folder / "weights")), "--layout", "diffusers"]
        assert main([*argv, "--output", str(folder / "out")]) == 0
        folders[name] = folder / "out"
    return folders


def flags(folder, **changed):
    parts = FLAGS | changed
    return [text for flag, place in parts.items() for text in (flag, folder / place)]


@pytest.mark.parametrize("name", MODELS)
def test_it_goes_to_public_formats_and_back_bit_for_bit(run, exported, tmp_path, name):
    before = exported[name].parent / "weights"

    end = run(
        "sd-i2v", *flags(exported[name]), "--architecture", before, "--output", tmp_path / "again"
    )

    assert end.code == 0, end.err
    model = MODELS[name]
    assert weights.networks(tmp_path / "again") == model.networks
    for network in model.networks:
        old, new = (load_file(f / f"{network}.safetensors") for f in (before, tmp_path / "again"))
        assert old.keys() == new.keys()
        assert all(np.array_equal(old[key], new[key]) for key in old)
    config = weights.load_config(tmp_path / "again")
    assert config.model == model
    assert config.schedule.beta_schedule == "linear"


def test_an_adapter_pickled_in_groups_is_the_same(run, exported, tmp_path):
    groups = {"image_proj": {}, "ip_adapter": {}}
    for key, x in load_file(exported["linear"] / "ip_adapter.safetensors").items():
        group, _, name = key.partition(".")
        groups[group][name] = torch.tensor(x)
    torch.save(groups, tmp_path / "ip-adapter_sd15.bin")
    before = exported["linear"].parent / "weights"

    end = run(
        *("sd-i2v", "--ip-adapter", tmp_path / "ip-adapter_sd15.bin"),
        *("--architecture", before, "--output", tmp_path / "out"),
    )

    assert end.code == 0, end.err
    assert "still without vae, image_encoder, denoising_unet" in end.out
    old, new = (load_file(f / "ip_adapter.safetensors") for f in (before, tmp_path / "out"))
    assert all(np.array_equal(old[key], new[key]) for key in old)


def test_the_empty_prompt_is_encoded_as_stable_diffusion_does(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    settings = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 20}
    encoder = CLIPTextModel(
        CLIPTextConfig(hidden_size=16, intermediate_size=32, max_position_embeddings=7, **settings)
    ).eval()
    encoder.save_pretrained(tmp_path / "text_encoder")
    with torch.no_grad():
        expected = encoder(torch.tensor([[18, 19, 19, 19, 19, 19, 19]])).last_hidden_state[0]

    piece = prompt.open_prompt(tmp_path)

    assert piece.section.tokens == 7
    np.testing.assert_allclose(piece.tensors["embeds"].read(), expected.numpy(), atol=1e-5)


def test_parts_that_do_not_belong_are_refused_in_one_line(run, exported, tmp_path, partial):
    folder, before = exported["linear"], exported["linear"].parent / "weights"
    face = {f"image_proj.proj.{i}.weight": np.zeros((2, 2), np.float32) for i in (0, 2)}
    save_file(face | {"ip_adapter.1.to_k_ip.weight": face["image_proj.proj.0.weight"]},
              tmp_path / "face.safetensors")  # fmt: skip
    output = ("--output", tmp_path / "out")
    other = exported["resampler"]

    refusals = {
        "give at least one of --stable_diffusion": run("sd-i2v", *output),
        "sees a face alone": run("sd-i2v", "--ip-adapter", tmp_path / "face.safetensors", *output),
        "is ControlNet of SD 1.x, diffusers, where an IP-Adapter": run(
            "sd-i2v", "--ip-adapter", folder / "pose_controlnet", *output
        ),
        "has no text encoder; name one with --prompt": run(
            "sd-i2v", "--stable-diffusion", folder, "--architecture", before, *output
        ),
        "is no SD-I2V (model.reference.kind=reference_net)": run(
            "sd-i2v", "--controlnet", folder / "pose_controlnet", "--output", partial
        ),
        "image encoder whose hidden_size is 16, not 8": run(
            *("sd-i2v", "--ip-adapter", other / "ip_adapter.safetensors"),
            *("--image-encoder", narrow_encoder(folder, tmp_path), "--architecture", before),
            *output,
        ),
    }

    for text, end in refusals.items():
        assert (end.code, text in end.refusal) == (1, True), (text, end.err)
    assert not (tmp_path / "out").exists()


def narrow_encoder(folder, tmp_path):
    """The image encoder's folder with the config of another width."""
    text = (folder / "image_encoder" / "config.json").read_text()
    place = tmp_path / "narrow"
    place.mkdir()
    (place / "config.json").write_text(text.replace('"hidden_size": 16', '"hidden_size": 8'))
    source = folder / "image_encoder" / "model.safetensors"
    (place / "model.safetensors").write_bytes(source.read_bytes())
    assert open_source(place).config["hidden_size"] == 8
    return place
