"""Motion modules against Moore-AnimateAnyone a914ef3 (fixtures: golden/PROVENANCE.md)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_modules import group, load_modules, part
from parity import apply, nchw, nhwc, normal, random_params

from aa_jax.config import MotionModuleConfig
from aa_jax.models.motion_module import MotionModule, TemporalTransformerBlock, position_table

CONFIG = MotionModuleConfig()


@pytest.mark.parametrize("tag", ["unit", "small"])
def test_module_is_moores(tag):
    probes, params = load_modules("probes"), part("mid_block.motion_modules.0")

    y = apply(MotionModule(CONFIG), params, nhwc(probes[f"in/x_{tag}"]))

    # Outputs have a standard deviation of 5; float32 against float64 differs by 1e-5.
    expected = probes[f"out/mid_block.motion_modules.0/{tag}"]
    np.testing.assert_allclose(nchw(y), expected, atol=5e-5)


@pytest.mark.parametrize("tag", ["unit", "small"])
def test_temporal_block_is_moores(tag):
    path = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
    probes, params = load_modules("probes"), part(path)
    x = probes[f"in/tokens_{tag}"]  # the two frames of one sample

    y = apply(TemporalTransformerBlock(CONFIG), params, jnp.asarray(x).swapaxes(0, 1)[None])

    np.testing.assert_allclose(y[0].swapaxes(0, 1), probes[f"out/{path}/{tag}"], atol=5e-5)


def test_module_is_moores_inside_a_run_of_six_frames():
    run, params = group("mid_block", "plain"), part("mid_block.motion_modules.0")

    y = apply(MotionModule(CONFIG), params, nhwc(run["mid_block.attentions.0"]))

    expected = run["mid_block.motion_modules.0"]
    np.testing.assert_allclose(nchw(y), expected, atol=1e-5 * np.abs(expected).max())


def test_position_table_alternates_sine_and_cosine():
    table = position_table(4, 6)

    for t in range(4):
        for c in range(6):
            angle = t / 10_000 ** (2 * (c // 2) / 6)
            assert table[t, c] == pytest.approx(np.cos(angle) if c % 2 else np.sin(angle), abs=1e-7)


def test_positions_tell_frames_apart():
    config = MotionModuleConfig(num_attention_heads=2, norm_num_groups=4)
    still = jnp.asarray(np.repeat(normal(1, 1, 2, 2, 8), 3, axis=1))
    module = MotionModule(config)

    y = apply(module, random_params(module, still, std=0.5), still)

    assert np.abs(np.diff(np.asarray(y), axis=1)).max() > 0.01


def test_fresh_module_changes_nothing():
    config = MotionModuleConfig(num_attention_heads=2, norm_num_groups=4)
    x, module = jnp.asarray(normal(1, 3, 2, 2, 8)), MotionModule(config)

    y, _ = jax.jit(module.init_with_output)(jax.random.key(0), x)

    np.testing.assert_array_equal(y, x)


def test_clips_beyond_the_position_table_are_refused():
    config = MotionModuleConfig(num_attention_heads=2, norm_num_groups=4, max_positions=4)
    clip = jax.ShapeDtypeStruct((1, 5, 2, 2, 8), jnp.float32)

    with pytest.raises(ValueError, match="a clip of 5 frames exceeds the motion module's 4"):
        jax.eval_shape(MotionModule(config).init, jax.random.key(0), clip)
