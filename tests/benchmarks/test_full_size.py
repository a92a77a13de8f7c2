"""A step taken in parts is the training program's step."""

import pytest
from tiny_run import tiny_config

from aa_jax.config import ConfigError
from benchmarks import full_size


def config_of():
    """The VAE alone, which compiles fastest; its gradients are long enough to be clipped."""
    return tiny_config(
        task="autoencoder",
        trainable=("vae",),
        batch_size=1,
        moments_dtype="bfloat16",
        max_grad_norm=1e-2,
    )


def test_a_step_in_parts_reports_what_the_program_reports(monkeypatch):
    monkeypatch.setattr(full_size, "free_memory", lambda: 100 * full_size.GIB)
    whole, parts = (full_size.take_step(config_of(), parts=parts) for parts in (False, True))
    assert (whole["taken"], parts["taken"]) == ("whole", "in parts")
    assert whole["grad_norm"] > config_of().train.max_grad_norm
    for name in ("loss", "grad_norm", "param_norm", "update_norm", "tflop"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-5), name
    assert parts["update_norm"] > 0


def test_a_step_that_does_not_fit_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(full_size, "free_memory", lambda: 2 * full_size.GIB)
    with pytest.raises(ConfigError, match=r"takes .* GiB in parts; 1\.0 GiB are free"):
        full_size.take_step(config_of())


def test_the_example_is_the_paper_s_stage_made_small():
    stage1, stage2 = (full_size.make_config(stage, 128, 4) for stage in (1, 2))
    assert (stage1.data.frames, stage2.data.frames) == (1, 4)
    assert stage2.train.trainable == ("motion_module",)
    for config in (stage1, stage2):
        assert config.model.unet.block_out_channels == (320, 640, 1280, 1280)
        assert config.train.moments_dtype == "bfloat16"
