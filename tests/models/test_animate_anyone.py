"""The networks together: parameter trees, dropped conditions, guidance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import normal

from aa_jax.config import (
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    PoseGuiderConfig,
    UNetConfig,
)
from aa_jax.models import animate_anyone

CONFIG = ModelConfig(
    unet=UNetConfig(
        block_out_channels=(8,),
        layers_per_block=1,
        attention_levels=(True,),
        num_attention_heads=2,
        cross_attention_dim=6,
        norm_num_groups=4,
    ),
    motion_module=MotionModuleConfig(num_attention_heads=2, norm_num_groups=4),
    pose_guider=PoseGuiderConfig(block_out_channels=(4, 8)),
    autoencoder=AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4),
    image_encoder=ImageEncoderConfig(projection_dim=6),
)
NETWORKS = animate_anyone.Networks.create(CONFIG)


@functools.cache
def shapes(motion: bool = True):
    config = ModelConfig(
        unet=CONFIG.unet,
        motion_module=MotionModuleConfig(num_attention_heads=2, norm_num_groups=4, enabled=motion),
        pose_guider=CONFIG.pose_guider,
        autoencoder=CONFIG.autoencoder,
        image_encoder=CONFIG.image_encoder,
    )
    return jax.eval_shape(lambda k: animate_anyone.init_params(k, config), jax.random.key(0))


@functools.cache
def params():
    """Random everywhere: fresh motion modules and Pose Guiders would add nothing."""
    seeds = iter(range(10_000))
    return jax.tree.map(
        lambda x: jnp.asarray(normal(*x.shape, seed=next(seeds), std=0.2)), shapes()
    )


def inputs():
    """Two clips of three frames and all their conditions."""
    return {
        "noisy_latents": jnp.asarray(normal(2, 3, 4, 4, 4)),
        "timesteps": jnp.asarray([613, 27]),
        "image_embeds": jnp.asarray(normal(2, 1, 6)),
        "reference_latents": jnp.asarray(normal(2, 4, 4, 4, seed=1)),
        "pose_pictures": jnp.asarray(normal(2, 3, 8, 8, 3, seed=2)),
    }


@functools.cache
def predict(mask=None):
    kwargs = inputs() | ({} if mask is None else {"condition_mask": jnp.asarray(mask)})
    return jax.jit(lambda params, kwargs: animate_anyone.predict(NETWORKS, params, **kwargs))(
        params(), kwargs
    )


@functools.cache
def unconditional():
    """Both clips with zero embeddings and no reference."""
    given = inputs()

    @jax.jit
    def run(params):
        return NETWORKS.denoising_unet.apply(
            {"params": animate_anyone.denoising_params(params)},
            given["noisy_latents"],
            given["timesteps"],
            jnp.zeros_like(given["image_embeds"]),
            pose_features=animate_anyone.encode_pose(NETWORKS, params, given["pose_pictures"]),
        )

    return run(params())


def test_trees_of_both_stages():
    stage1, stage2 = shapes(motion=False), shapes(motion=True)

    assert set(stage2) == {"reference_unet", "denoising_unet", "motion_module", "pose_guider"}
    assert set(stage2) - set(stage1) == {"motion_module"}
    for name, tree in stage1.items():
        assert tree == stage2[name]
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(stage2["motion_module"])]
    assert all("['motion_modules_" in path for path in paths)


def test_split_undoes_merge():
    spatial, motion = params()["denoising_unet"], params()["motion_module"]

    again = animate_anyone.split(animate_anyone.merge(spatial, motion))

    assert again == {"denoising_unet": spatial, "motion_module": motion}


def test_merge_refuses_two_motion_modules():
    merged = animate_anyone.denoising_params(params())

    with pytest.raises(ValueError, match="both trees hold motion_modules_0"):
        animate_anyone.merge(merged, params()["motion_module"])


def test_dropped_samples_are_unconditional():
    masked, full = predict((True, False)), predict()

    np.testing.assert_allclose(masked[0], full[0], atol=1e-5)
    np.testing.assert_allclose(masked[1], unconditional()[1], atol=1e-5)
    assert np.abs(masked[1] - full[1]).max() > 0.01


def test_guidance_extrapolates_from_the_unconditional_prediction():
    given = inputs()

    @jax.jit
    def guided(params):
        reference = animate_anyone.encode_reference(
            NETWORKS, params, given["reference_latents"], given["image_embeds"]
        )
        return animate_anyone.predict_guided(
            NETWORKS,
            params,
            noisy_latents=given["noisy_latents"],
            timesteps=given["timesteps"],
            image_embeds=given["image_embeds"],
            reference=reference,
            pose_features=animate_anyone.encode_pose(NETWORKS, params, given["pose_pictures"]),
            guidance_scale=3.5,
        )

    expected = unconditional() + 3.5 * (predict() - unconditional())
    np.testing.assert_allclose(guided(params()), expected, atol=5e-5)


def test_pose_comes_as_pictures_or_as_features():
    given = inputs()
    features = jnp.zeros((2, 3, 4, 4, 8))

    with pytest.raises(ValueError, match="either pose_pictures or pose_features"):
        animate_anyone.predict(NETWORKS, params(), **given, pose_features=features)
    del given["pose_pictures"]
    with pytest.raises(ValueError, match="either pose_pictures or pose_features"):
        animate_anyone.predict(NETWORKS, params(), **given)
