"""Cached deep features: exact where they are fresh, cheaper by what was meant, and close."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE, random_params

from aa_jax import weights
from aa_jax.diffusion.samplers import Sampler, rows
from aa_jax.kernels import attention as attention_kernels
from aa_jax.media.pictures import resize
from aa_jax.models.image_encoder import preprocess
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Pipeline
from aa_jax.training import flops
from benchmarks import approximations

# Three layers in the last up block, so that one of them is left out of the shallow steps.
PIPELINE = Pipeline(
    dataclasses.replace(MODEL, unet=dataclasses.replace(MODEL.unet, layers_per_block=2)), SCHEDULE
)
STEPS = 5


@pytest.fixture(scope="module")
def params():
    return random_params(PIPELINE.model)


@pytest.fixture(scope="module")
def conditions(params, reference, skeletons):
    size = MODEL.image_encoder.image_size
    return PIPELINE.encode(
        params, resize(reference, 24, 16)[None], preprocess(reference, size)[None], skeletons[None]
    )


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(3).standard_normal((1, 4, 8, 12, 4)).astype(np.float32)


@pytest.fixture(scope="module", params=[None, 3.5], ids=["plain", "guided"])
def predict(request, params, conditions):
    """The compiled predictor: (latents, timestep, deep=None) -> prediction and deep features."""
    scale = request.param

    @jax.jit
    def call(latents, timestep, deep=None):
        predict = pipeline_lib.predictor(
            PIPELINE, params, conditions, None if scale is None else jnp.float32(scale)
        )
        return predict(latents, timestep, deep=deep, return_deep=True)

    call.scale = 1.0 if scale is None else scale
    return call


def test_fresh_features_give_what_the_whole_network_gives(predict, noise):
    whole, deep = predict(noise, jnp.int32(613))
    shallow, _ = predict(noise, jnp.int32(613), deep)
    np.testing.assert_allclose(shallow, whole, atol=1e-5 * np.abs(whole).max())


def test_features_are_taken_from_the_last_whole_step(predict, params, conditions, noise):
    # given a loop in which steps 0 and 3 of five are whole
    sampler, deep = Sampler("unipc", SCHEDULE), None
    state = sampler.start(noise)
    for i, row in enumerate(rows(sampler.plan(STEPS))):
        prediction, new = predict(state.latents, row.timestep, None if i in (0, 3) else deep)
        deep = new if i in (0, 3) else deep
        state = sampler.advance(state, prediction, row)

    # then the pipeline's loop over groups of three is the same, and not that of whole steps
    cached, plain = (
        PIPELINE.denoise(
            params, conditions, noise, steps=STEPS, guidance_scale=predict.scale, sampler="unipc",
            feature_cache_interval=interval,
        )
        for interval in (3, 1)
    )  # fmt: skip
    scale = np.abs(state.latents).max()
    np.testing.assert_allclose(cached, state.latents, rtol=0, atol=1e-4 * scale)
    assert np.abs(cached - plain).max() > 1e-3 * scale


def test_interval_one_is_off(params, conditions, noise):
    settings = {"steps": 2, "guidance_scale": 1.0}
    off = PIPELINE.denoise(params, conditions, noise, **settings)
    compiled = pipeline_lib._denoise._cache_size()
    one = PIPELINE.denoise(params, conditions, noise, feature_cache_interval=1, **settings)
    np.testing.assert_array_equal(one, off)
    assert pipeline_lib._denoise._cache_size() == compiled


def test_flops_are_those_of_the_steps_that_are_whole(params, conditions, noise):
    def count(function, *args):
        with attention_kernels.using("xla"):
            return flops.count(jax.jit(function).trace(*args).jaxpr)

    def whole(latents):
        predict = pipeline_lib.predictor(PIPELINE, params, conditions, jnp.float32(3.5))
        return predict(latents, jnp.int32(613), return_deep=True)

    def shallow(latents, deep):
        predict = pipeline_lib.predictor(PIPELINE, params, conditions, jnp.float32(3.5))
        return predict(latents, jnp.int32(613), deep=deep)

    _, deep = jax.eval_shape(whole, noise)
    one_whole, one_shallow = count(whole, noise), count(shallow, noise, deep)
    assert one_shallow < 0.6 * one_whole
    for interval in (1, 2, 3, 7):

        def denoise(noise, interval=interval):
            return PIPELINE.denoise(
                params, conditions, noise, steps=STEPS, guidance_scale=3.5,
                feature_cache_interval=interval,
            )  # fmt: skip

        times = math.ceil(STEPS / interval)
        expected = times * one_whole + (STEPS - times) * one_shallow
        assert count(denoise, noise) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_trained_model_hardly_notices():
    # given the bundled weights and two puppets they have not seen
    figures = approximations.measure(weights.BUNDLED, clips=2, frames=8)

    # then what features of every other step change is small, beside what is wrong anyway
    cached = figures["20 of ddim, cache interval 2"]
    assert figures["20 steps of ddim"]["psnr_to_base"] > 99
    assert 30 < cached["psnr_to_base"] < 99
    assert abs(cached["psnr_to_truth"] - figures["20 steps of ddim"]["psnr_to_truth"]) < 0.5
