"""Kinds of reference: what all must do alike, whatever they are made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_model
from parity import normal

from aa_jax.config import PromptConfig, ReferenceConfig
from aa_jax.models import animate_anyone
from aa_jax.models.transformer import Concatenation

KINDS = {
    "controlnet": {"kind": "controlnet", "hint_channels": (4, 8)},
    "concatenation": {"fusion": "concatenation"},
    "ip_adapter": {"kind": "ip_adapter"},
}
POSES = {"ip_adapter": "whole_controlnet", "controlnet": "whole_controlnet"}
"""Two ControlNets at once, too: one of the pose, one of the reference."""


def model_of(name):
    """One level: what is told apart here happens in every one."""
    unet = dataclasses.replace(
        tiny_model.MODEL.unet, block_out_channels=(8,), attention_levels=(True,)
    )
    still = dataclasses.replace(tiny_model.MODEL.motion_module, enabled=False)
    reference = ReferenceConfig(**KINDS[name])
    pose = dataclasses.replace(tiny_model.MODEL.pose_guider, kind=POSES.get(name, "paper"))
    return dataclasses.replace(
        tiny_model.MODEL,
        unet=unet,
        motion_module=still,
        reference=reference,
        pose_guider=pose,
        prompt=PromptConfig(tokens=3),
    )


def given():
    return {
        "image_embeds": jnp.asarray(normal(2, 1, 16)),
        "noisy_latents": jnp.asarray(normal(2, 1, 4, 4, 4, seed=3)),
        "timesteps": jnp.asarray([3, 900]),
        "pose_features": jnp.asarray(normal(2, 1, 4, 4, 8, seed=4)),
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_dropped_condition_is_what_guidance_calls_unconditional(name):
    """One sample of two sees its reference; the other one gets what sampling's first half does."""
    model = model_of(name)
    networks = animate_anyone.Networks.create(model)
    picture = {
        "reference_latents": jnp.asarray(normal(2, 4, 4, 4, seed=1)),
        "reference_pictures": jnp.asarray(np.abs(normal(2, 8, 8, 3, seed=2))),
    }

    def both(params, given, picture):
        mask = jnp.asarray([True, False])
        trained = animate_anyone.predict(networks, params, **given, **picture, condition_mask=mask)
        reference = animate_anyone.encode_reference(
            networks, params, image_embeds=given["image_embeds"], **picture
        )
        return trained, *(
            animate_anyone.predict_guided(
                networks, params, **given, reference=reference, guidance_scale=scale
            )
            for scale in (1.0, 0.0)
        )

    params = tiny_model.random_params(model)
    trained, conditional, unconditional = jax.jit(both)(params, given(), picture)

    np.testing.assert_allclose(trained[0], conditional[0], atol=2e-5)
    np.testing.assert_allclose(trained[1], unconditional[1], atol=2e-5)
    assert np.abs(conditional - unconditional).max() > 1e-3


def test_concatenation_is_the_convolution_of_concatenated_channels():
    x, features = jnp.asarray(normal(3, 2, 4, 5, 6)), jnp.asarray(normal(2, 20, 6, seed=1))
    kernel, bias = jnp.asarray(normal(1, 1, 12, 6, seed=2)), jnp.asarray(normal(6, seed=3))

    y = Concatenation().apply(
        {"params": {"kernel": kernel, "bias": bias}}, x, features @ kernel[0, 0, 6:]
    )

    whole = jnp.concatenate([jnp.zeros((1, 20, 6)), features]).reshape(3, 1, 4, 5, 6)
    both = jnp.concatenate([x, jnp.broadcast_to(whole, x.shape)], axis=-1)
    expected = jnp.einsum("bthwc,cd->bthwd", both, kernel[0, 0])
    np.testing.assert_allclose(y, expected + bias.reshape(1, 1, 1, 1, 6), atol=1e-5)


def test_fresh_concatenation_leaves_the_tokens_as_they_are():
    x = jnp.asarray(normal(1, 1, 2, 2, 4))

    y, _ = Concatenation().init_with_output(jax.random.key(0), x, None)

    np.testing.assert_array_equal(y, x)
