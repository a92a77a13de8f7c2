"""Sampling is what the training-time model and the DDIM formulas say it is."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE, random_params

from aa_jax.config import ConfigError
from aa_jax.diffusion import ddim
from aa_jax.media.pictures import resize
from aa_jax.models import animate_anyone
from aa_jax.models.autoencoder import Autoencoder
from aa_jax.models.image_encoder import ImageEncoder, preprocess
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Pipeline, SamplingError

PIPELINE = Pipeline(MODEL, SCHEDULE)
STEPS = 3


def encode(params, reference, skeletons):
    """The pipeline's own first phase, for a batch of one."""
    height, width = skeletons.shape[1:3]
    size = MODEL.image_encoder.image_size
    picture, pixels = resize(reference, width, height), preprocess(reference, size)
    return PIPELINE.encode(params, picture[None], pixels[None], skeletons[None])


@pytest.fixture(scope="module")
def conditions(params, reference, skeletons):
    return encode(params, reference, skeletons)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(3).standard_normal((1, 4, 8, 12, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def training_model(params, reference, skeletons):
    """(latents, timestep, conditioned) -> what the model predicts in training."""
    networks = animate_anyone.Networks.create(MODEL)
    vae, encoder = Autoencoder(MODEL.autoencoder), ImageEncoder(MODEL.image_encoder)
    picture = jnp.asarray(resize(reference, 24, 16), jnp.float32)[None] / 127.5 - 1
    pixels = preprocess(reference, MODEL.image_encoder.image_size)[None]

    @jax.jit
    def predict(latents, timestep, conditioned):
        return animate_anyone.predict(
            networks,
            params,
            noisy_latents=latents,
            timesteps=timestep[None],
            image_embeds=encoder.encode(params["image_encoder"], pixels),
            reference_latents=vae.encode(params["vae"], picture),
            pose_pictures=jnp.asarray(skeletons, jnp.float32)[None] / 255,
            condition_mask=conditioned[None],
        )

    return predict


@pytest.mark.parametrize("scale", [1.0, 3.5])
def test_one_scan_is_the_loop_of_steps(scale, params, conditions, noise, training_model):
    # given a loop over single steps of the model as it is trained
    expected = noise
    for now, then in zip(
        ddim.timesteps(SCHEDULE, STEPS), ddim.previous_timesteps(SCHEDULE, STEPS), strict=True
    ):
        with_condition, without = (
            training_model(expected, jnp.int32(now), jnp.bool_(flag)) for flag in (True, False)
        )
        prediction = without + scale * (with_condition - without)
        expected, _ = ddim.ddim_step(SCHEDULE, prediction, expected, now, then)

    # when the pipeline samples, then its latents are the same
    latents = PIPELINE.denoise(params, conditions, noise, steps=STEPS, guidance_scale=scale)
    # float32 in another order of operations; guidance magnifies it
    np.testing.assert_allclose(latents, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_without_guidance_the_scale_does_not_matter(params, conditions, noise):
    at_one, below = (
        PIPELINE.denoise(params, conditions, noise, steps=STEPS, guidance_scale=scale)
        for scale in (1.0, 0.0)
    )
    np.testing.assert_array_equal(at_one, below)


def test_nothing_recompiles_for_another_seed_or_scale(params, conditions, noise):
    PIPELINE.denoise(params, conditions, noise, steps=STEPS, guidance_scale=3.5)
    compiled = pipeline_lib._denoise._cache_size()
    PIPELINE.denoise(params, conditions, noise + 1, steps=STEPS, guidance_scale=7.0, seed=5)
    assert pipeline_lib._denoise._cache_size() == compiled


def test_seed_names_the_video(params, reference, skeletons):
    videos = [
        PIPELINE.animate(params, reference, skeletons, steps=STEPS, guidance_scale=1, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert videos[0].shape == skeletons.shape
    assert videos[0].dtype == np.uint8
    np.testing.assert_array_equal(videos[0], videos[1])
    assert np.abs(videos[0].astype(int) - videos[2]).mean() > 1


def test_reference_and_skeletons_matter(params, reference, skeletons):
    def video(reference, skeletons):
        return PIPELINE.animate(params, reference, skeletons, steps=STEPS, guidance_scale=1)

    usual = video(reference, skeletons).astype(int)
    assert np.abs(usual - video(255 - reference, skeletons)).mean() > 0.5
    assert np.abs(usual - video(reference, 255 - skeletons)).mean() > 0.5


def test_every_frame_has_its_own_noise():
    long, short = (PIPELINE.noise(7, frames, 16, 24) for frames in (6, 3))
    assert long.shape == (6, 8, 12, 4)
    np.testing.assert_array_equal(long[:3], short)
    assert not np.array_equal(long[0], long[1])
    assert abs(float(long.std()) - 1) < 0.05


def test_batch_of_clips_is_each_clip_alone(params, reference, skeletons, noise):
    references = [reference, 255 - reference]
    clips = np.stack([skeletons, skeletons[::-1]])
    noises = np.concatenate([noise, -noise])
    settings = {"steps": STEPS, "guidance_scale": 1}
    batch = PIPELINE.animate_batch(params, references, clips, noise=noises, **settings)
    for i in range(2):
        alone = PIPELINE.animate(params, references[i], clips[i], noise=noises[i], **settings)
        # a pixel may round the other way
        assert np.abs(batch[i].astype(int) - alone).max() <= 1


def test_eta_draws_fresh_noise_from_the_seed(params, conditions, noise):
    def latents(eta, seed):
        return PIPELINE.denoise(
            params, conditions, noise, steps=STEPS, guidance_scale=1, eta=eta, seed=seed
        )

    np.testing.assert_array_equal(latents(0.5, 0), latents(0.5, 0))
    assert np.abs(latents(0.5, 0) - latents(0.5, 1)).max() > 0.1
    assert np.abs(latents(0.5, 0) - latents(0.0, 0)).max() > 0.1


def test_decoding_in_chunks_changes_nothing(params, noise, monkeypatch):
    whole = np.concatenate(list(PIPELINE.decode(params, noise[0])))
    monkeypatch.setattr(pipeline_lib, "PIXELS_AT_ONCE", 3 * 16 * 24)
    chunks = list(PIPELINE.decode(params, noise[0]))
    assert [len(chunk) for chunk in chunks] == [3, 1]
    assert np.abs(np.concatenate(chunks).astype(int) - whole).max() <= 1


def test_bfloat16_stays_near_float32(params, conditions, noise):
    half = dataclasses.replace(PIPELINE, dtype=jnp.bfloat16)
    one, two = (
        p.denoise(params, conditions, noise, steps=STEPS, guidance_scale=1)
        for p in (PIPELINE, half)
    )
    assert two.dtype == jnp.float32
    # 8 bits of mantissa, some thirty layers, three steps
    assert np.abs(one - two).mean() < 0.1 * np.abs(one).mean()


def test_phases_are_reported(params, reference, skeletons):
    phases = []
    PIPELINE.animate(
        params, reference, skeletons, steps=STEPS, guidance_scale=1, report=phases.append
    )
    encoding, denoising, decoding = phases
    assert encoding == "encoding the reference picture and 4 skeletons"
    assert denoising == "denoising 4 frames in 3 steps, all in one piece"
    assert re.fullmatch(r"denoised in [\d.]+ s, compiling included; decoding 4 frames", decoding)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 25}, "width 25 is no multiple of the VAE factor 2; 24 would be"),
        ({"steps": 0}, "steps must be between 1 and 1000, got 0"),
    ],
)
def test_the_impossible_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PIPELINE.check(**({"height": 16, "width": 24, "steps": 3} | changes))


def test_clips_beyond_the_position_table_are_refused(params, reference, skeletons):
    clip = np.repeat(skeletons, 2, axis=0)[:7]
    with pytest.raises(SamplingError, match="7 frames are more than the 6 positions"):
        PIPELINE.animate(params, reference, clip, steps=STEPS, guidance_scale=1)


def test_single_frame_models_take_any_number_of_frames(conditions, noise):
    motion = dataclasses.replace(MODEL.motion_module, enabled=False)
    model = dataclasses.replace(MODEL, motion_module=motion)
    stage1 = Pipeline(model, SCHEDULE)
    params = random_params(model)
    assert "motion_module" not in params
    denoise = functools.partial(stage1.denoise, steps=1, guidance_scale=3.5)
    assert jax.eval_shape(denoise, params, conditions, noise).shape == noise.shape
