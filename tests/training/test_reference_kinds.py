"""Every kind of reference goes through the one training loop, weights on disk and sampling."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import IPAdapterConfig, PoseGuiderConfig, PromptConfig, ReferenceConfig
from aa_jax.data import latent_cache
from aa_jax.sampling import long_video
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.sampling.windows import Windows
from aa_jax.training import loop, plan
from aa_jax.training.networks import initial_params

KINDS = {
    "clip": {"kind": "clip"},
    "controlnet": {"kind": "controlnet"},
    "clip_controlnet": {"kind": "clip_controlnet"},
    "resnet": {"kind": "resnet"},
    "none": {"kind": "none"},
    "concatenation": {"fusion": "concatenation"},
    "resnet_concatenation": {"kind": "resnet", "fusion": "concatenation"},
    "ip_adapter": {"kind": "ip_adapter"},
    "ip_adapter_plus": {"kind": "ip_adapter"},
}
SD_I2V = {
    "pose_guider": PoseGuiderConfig(kind="whole_controlnet", block_out_channels=(4, 8)),
    "prompt": PromptConfig(tokens=3),
}
PLUS = IPAdapterConfig(
    projection="resampler", resampler_width=8, resampler_layers=1, resampler_heads=1
)


def config_of(name, **train):
    config = tiny_config(name, **train)
    reference = ReferenceConfig(
        **KINDS[name], hint_channels=(4, 8), resnet_layers=(1, 1, 1, 1), resnet_width=4
    )
    model = dataclasses.replace(config.model, reference=reference)
    if reference.kind == "ip_adapter":
        model = dataclasses.replace(model, **SD_I2V)
    if name == "ip_adapter_plus":
        model = dataclasses.replace(model, ip_adapter=PLUS)
    learned = tuple(network for network in model.networks if network != "vae")
    train = dataclasses.replace(config.train, trainable=learned)
    return dataclasses.replace(config, model=model, train=train)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_fifty_steps_lower_the_loss_and_a_video_comes_out(name, tmp_path):
    config = config_of(name, steps=50, save_every=25, learning_rate=3e-3)
    loop.run(config, tmp_path)

    losses = [json.loads(x)["loss"] for x in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])

    found, params = weights.load(tmp_path / "weights")
    assert found.model.reference == config.model.reference
    assert set(params) == set(config.model.networks)
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    frames = list(
        long_video.animate(
            Pipeline.of(found),
            params,
            picture,
            np.zeros((5, 16, 16, 3), np.uint8),
            windows=Windows(method="blend", frames=3, overlap=1),
            steps=2,
            guidance_scale=2.0,
        )
    )
    assert np.concatenate(frames).shape == (5, 16, 16, 3)


@pytest.mark.slow
def test_a_controlnet_s_run_goes_on_where_it_stopped(tmp_path):
    config = config_of("clip_controlnet", steps=4, save_every=2)
    loop.run(config, tmp_path)
    _, whole = weights.load(tmp_path / "weights")

    shutil.rmtree(tmp_path / "weights")
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    loop.run(config, tmp_path)

    _, again = weights.load(tmp_path / "weights")
    np.testing.assert_array_equal(
        whole["controlnet"]["mid_block"]["resnets_0"]["conv1"]["kernel"],
        again["controlnet"]["mid_block"]["resnets_0"]["conv1"]["kernel"],
    )


def test_a_controlnet_starts_as_a_copy_of_the_denoising_unet_it_is_given(tmp_path):
    start = config_of("none")
    params = initial_params(start)
    saved = weights.WeightsConfig(
        model=start.model, schedule=start.schedule, skeleton=start.skeleton, sampling=start.sampling
    )
    weights.save(tmp_path, saved, params)
    config = config_of("controlnet")
    config = dataclasses.replace(
        config,
        init=dataclasses.replace(config.init, weights=str(tmp_path)),
        train=dataclasses.replace(config.train, trainable=("controlnet",)),
    )

    began = initial_params(config)

    assert set(began) == {"vae", "denoising_unet", "pose_guider", "controlnet"}
    for name in ("conv_in", "down_blocks_1", "mid_block"):
        leaf = began["controlnet"][name]
        while isinstance(leaf, dict):
            path = next(iter(leaf))
            leaf, name = leaf[path], f"{name}.{path}"
        theirs = params["denoising_unet"]
        for path in name.split("."):
            theirs = theirs[path]
        np.testing.assert_array_equal(leaf, theirs)


def test_hidden_states_are_too_many_to_be_kept():
    config = config_of("ip_adapter_plus")
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, latents_dtype="bfloat16"),
        train=dataclasses.replace(config.train, trainable=("ip_adapter",)),
    )

    encode = latent_cache.encoding_ahead(config, initial_params(config, ("vae", "image_encoder")))

    assert encode.keywords == {"embeds": False}


@pytest.mark.parametrize("name", ["clip_controlnet", "resnet"])
def test_a_plan_reads_the_reference_s_pixels_where_the_model_does(name):
    batch = plan.abstract_batch(config_of(name), latents=None)

    assert batch["reference"].shape == (4, 16, 16, 3)
