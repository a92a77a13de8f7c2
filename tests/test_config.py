import dataclasses
import json
from pathlib import Path

import pytest

from aa_jax.config import (
    ConfigError,
    ModelConfig,
    NoiseScheduleConfig,
    RunConfig,
    check_size,
    default_config,
    from_dict,
)

CONFIGS = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "configs").glob("*.py")
    if path.stem not in ("__init__", "puppets_common")
)


def test_a_config_survives_json():
    config = RunConfig(name="run", seed=3)
    assert from_dict(RunConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_file_is_a_valid_run(name):
    module = __import__(f"configs.{name}", fromlist=["get_config"])
    assert from_dict(RunConfig, module.get_config().to_dict()).name == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "sede": 1}, "unknown field sede"),
        ({"name": "a", "train": {"stepz": 1}}, "unknown field train.stepz"),
        ({"seed": 1}, "field name is missing"),
        ({"name": "a", "data": {"frames": 0}}, "data.frames must be at least 1, got 0"),
        ({"name": "a", "data": {"source": "D", "buckets": ["8*8"]}}, "looks like 768x512"),
        ({"name": "a", "data": {"source": "D", "buckets": ["8x12"]}}, "data.buckets: height 12"),
        ({"name": "a", "data": {"buckets": ["8x8"]}}, "puppets are drawn at any size"),
        ({"name": "a", "seed": "1"}, "seed must be int"),
        ({"name": "a", "seed": True}, "seed must be int"),
        ({"name": "a", "train": {"steps": 0}}, "train.steps must be at least 1"),
        ({"name": "a", "train": {"validate_every": 0}}, "validate_every must be at least 1"),
        ({"name": "a", "train": {"trainable": ["unet"]}}, "unknown unet"),
        ({"name": "a", "train": {"batch_size": 5, "accumulation_steps": 2}}, "no multiple"),
        ({"name": "a", "sampling": {"steps": 0}}, "sampling.steps must be at least 1"),
        ({"name": "a", "schedule": {"prediction_type": "noise"}}, "must be one of 'epsilon'"),
        ({"name": "a", "model": {"unet": {"in_channels": 5}}}, "must equal"),
        ({"name": "a", "model": {"unet": {"block_out_channels": 320}}}, "must be a list"),
        ({"name": "a", "data": {"width": 500}}, "496 would be"),
    ],
)
def test_a_wrong_field_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(RunConfig, values)


def test_an_integer_is_welcome_where_a_float_is_asked_for():
    assert from_dict(NoiseScheduleConfig, {"beta_end": 1}).beta_end == 1.0


def test_epsilon_prediction_refuses_zero_terminal_snr():
    with pytest.raises(ConfigError, match="zero terminal SNR"):
        NoiseScheduleConfig(rescale_betas_zero_snr=True, prediction_type="epsilon")


def test_check_size_says_what_would_be_right():
    check_size(512, 768, ModelConfig(), where="size")
    with pytest.raises(ConfigError, match="height 765 is no multiple of the VAE factor 8; 768"):
        check_size(512, 765, ModelConfig(), where="size")


def test_default_config_holds_every_field():
    config = default_config("x")
    config.train.steps = 7
    assert from_dict(RunConfig, config.to_dict()).train.steps == 7
    with pytest.raises(AttributeError):
        config.train.stepz = 7
