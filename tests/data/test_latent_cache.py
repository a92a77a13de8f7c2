"""Cached latents are those that training would make, and are used only where they fit."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_model import random_params
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError, InitConfig
from aa_jax.data import latent_cache, loader
from aa_jax.data.preparation import cli
from aa_jax.training import loop, plan

FROZEN_ENCODERS = ("reference_unet", "denoising_unet", "pose_guider")


def config_of(dataset, trainable=FROZEN_ENCODERS, **data):
    config = tiny_config(steps=3, trainable=trainable)
    data = dataclasses.replace(config.data, source=str(dataset), **data)
    return dataclasses.replace(config, data=data)


@pytest.fixture(scope="module")
def params():
    return random_params(tiny_config().model)


@pytest.fixture(scope="module")
def cached(jpeg_dataset, params, tmp_path_factory):
    """The dataset with latents of its own, as a user makes them; and their weights."""
    directory = tmp_path_factory.mktemp("weights") / "weights"
    config = tiny_config()
    weights.save(
        directory,
        weights.WeightsConfig(
            model=config.model,
            schedule=config.schedule,
            skeleton=config.skeleton,
            sampling=config.sampling,
        ),
        params,
    )
    flags = ["--output", jpeg_dataset, "--cache-latents", "--weights", directory]
    assert cli.main(list(map(str, flags))) == 0
    return jpeg_dataset, directory


def batches(config, latents=None):
    return list(
        loader.batches(
            config.data,
            config.skeleton,
            config.model,
            batch_size=4,
            first_step=0,
            last_step=3,
            latents=latents,
        )
    )


def test_batches_from_the_cache_equal_those_encoded_while_training(cached, params):
    """Bit for bit where training rounds to bfloat16 too."""
    config = config_of(cached[0], frames=2, latents_dtype="bfloat16")
    found = latent_cache.find(config, params)
    encode = latent_cache.encoding_ahead(config, params)
    for read, seen in zip(batches(config, found), map(encode, batches(config)), strict=True):
        assert read.keys() == seen.keys()
        assert read["target_moments"].shape == (4, 2, 8, 8, 8)
        assert read["image_embeds"].shape == (4, 1, 8)
        for name in read:
            assert read[name].dtype == seen[name].dtype
            np.testing.assert_array_equal(
                read[name].astype(np.float32), seen[name].astype(np.float32)
            )


def test_worker_processes_read_the_same_latents(cached, params):
    ours = config_of(cached[0], num_workers=1)
    found = latent_cache.find(ours, params)
    theirs = config_of(cached[0])
    for read, expected in zip(batches(ours, found), batches(theirs, found), strict=True):
        for name in read:
            np.testing.assert_array_equal(
                read[name].astype(np.float32), expected[name].astype(np.float32)
            )


def test_an_image_encoder_that_trains_gets_pictures(cached, params):
    config = config_of(cached[0], trainable=(*FROZEN_ENCODERS, "image_encoder"))
    found = latent_cache.find(config, params)
    read, seen = batches(config, found)[0], batches(config)[0]
    assert "image_embeds" not in read
    np.testing.assert_array_equal(read["clip_pixels"], seen["clip_pixels"])


def test_a_cache_is_used_only_where_it_fits(cached, params):
    dataset, _ = cached
    folder = latent_cache.find(config_of(dataset), params).folder
    assert folder.parent == dataset / "latents"
    other = {**params, "vae": {"kernel": np.zeros(3)}}
    assert latent_cache.find(config_of(dataset), other) is None
    assert latent_cache.find(config_of(dataset, width=32), params) is None
    assert latent_cache.find(config_of(dataset, latents="none"), params) is None
    trains_vae = config_of(dataset, trainable=(*FROZEN_ENCODERS, "vae"))
    assert latent_cache.find(trains_vae, params) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 32}, "was made with other sizes; run prepare.py --cache-latents"),
        ({"latents": "/nowhere"}, "/nowhere holds no finished cache"),
    ],
)
def test_a_cache_that_is_named_must_fit(cached, params, change, message):
    dataset, _ = cached
    folder = latent_cache.find(config_of(dataset), params).folder
    with pytest.raises(ConfigError, match=message):
        latent_cache.find(config_of(dataset, **{"latents": str(folder), **change}), params)


def test_a_killed_run_goes_on_and_leaves_whole_files_alone(cached, params):
    dataset, directory = cached
    folder = latent_cache.find(config_of(dataset), params).folder
    first, second = sorted((folder / "train").iterdir())[:2]
    content, before = second.read_bytes(), first.stat().st_ino
    second.unlink()
    (folder / "latents.json").unlink()
    assert latent_cache.find(config_of(dataset), params) is None  # not finished
    assert latent_cache.write(dataset, directory, [(16, 16)], dtype="float32") == folder
    assert first.stat().st_ino == before
    assert second.read_bytes() == content


def test_a_dry_run_finds_the_cache_that_the_run_will_read(cached, params):
    dataset, directory = cached
    config = config_of(dataset)
    config = dataclasses.replace(config, init=InitConfig(weights=str(directory)))
    assert plan.find_latents(config) == latent_cache.find(config, params)
    other = dataclasses.replace(config, init=InitConfig())  # random numbers
    assert plan.find_latents(other) is None


@pytest.mark.slow
def test_losses_from_cached_latents_are_those_of_the_uncached_run(cached, params, tmp_path):
    """Exactly where that rounds to bfloat16 too, within 2 % otherwise."""
    dataset, directory = cached
    runs = {
        "cached": {},
        "rounded": {"latents": "none", "latents_dtype": "bfloat16"},
        "plain": {"latents": "none"},
    }
    traces = {}
    for name, data in runs.items():
        config = config_of(dataset, **data)
        init = dataclasses.replace(config.init, weights=str(directory))
        loop.run(dataclasses.replace(config, init=init), tmp_path / name)
        lines = (tmp_path / name / "steps.jsonl").read_text().splitlines()
        traces[name] = [json.loads(line)["loss"] for line in lines]
    assert traces["cached"] == traces["rounded"]
    assert traces["plain"] != traces["rounded"]
    np.testing.assert_allclose(traces["plain"], traces["rounded"], rtol=0.02)
