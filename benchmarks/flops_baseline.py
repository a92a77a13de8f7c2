"""FLOPs of the baseline SD-I2V beside the paper's model's; `benchmarks/flops.py` prints them.

Counted are the functions that sample: what a reference picture takes once per video, what a
skeleton picture takes once, and one guided step of the denoising loop.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from aa_jax import weights
from aa_jax.config import (
    ImageEncoderConfig,
    IPAdapterConfig,
    ModelConfig,
    NoiseScheduleConfig,
)
from aa_jax.sampling import pipeline as pipeline_lib
from aa_jax.sampling.pipeline import Conditions, Pipeline
from benchmarks.flops_counting import GUIDANCE_SCALE, counted
from convert.reading import presets


def models(
    model: ModelConfig, image_encoder: ImageEncoderConfig = presets.OPENCLIP_VIT_H
) -> dict[str, ModelConfig]:
    """The paper's model, and SD-I2V with either IP-Adapter around the same UNet."""
    linear = dataclasses.replace(
        model,
        reference=presets.SD_I2V.reference,
        pose_guider=presets.SD_I2V.pose_guider,
        image_encoder=image_encoder,
    )
    plus = IPAdapterConfig(projection="resampler", tokens=16)
    return {
        "ours": model,
        "SD-I2V": linear,
        "SD-I2V, IP-Adapter Plus": dataclasses.replace(linear, ip_adapter=plus),
    }


def count(model: ModelConfig, *, size: int, frames: int) -> dict[str, float]:
    """FLOPs of one model: of a step and a skeleton per frame, of the reference per video."""
    pipeline = Pipeline(model, NoiseScheduleConfig())
    params = weights.abstract_params(model)
    side, image_size = size // model.autoencoder.downscale_factor, model.image_encoder.image_size

    def array(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    picture, pixels = array(1, size, size, 3, dtype=jnp.uint8), array(1, image_size, image_size, 3)
    skeletons = array(1, frames, size, size, 3, dtype=jnp.uint8)
    latents = array(1, frames, side, side, model.unet.in_channels)

    def reference(params, picture, pixels):
        return pipeline_lib.encode_reference(pipeline, params, picture, pixels)

    def pose(params, skeletons):
        return pipeline_lib.encode_skeletons(pipeline, params, skeletons)

    def step(params, conditions, latents, timestep):
        predict = pipeline_lib.predictor(pipeline, params, conditions, jnp.float32(GUIDANCE_SCALE))
        return predict(latents, timestep)

    conditions = Conditions(
        *jax.eval_shape(reference, params, picture, pixels),
        jax.eval_shape(pose, params, skeletons),
    )
    return {
        "guided step, per frame": counted(step, params, conditions, latents, array()) / frames,
        "reference, per video": counted(reference, params, picture, pixels),
        "skeleton, per frame": counted(pose, params, skeletons) / frames,
    }
