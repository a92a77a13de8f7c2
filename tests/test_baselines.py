"""The baselines' configs: what they train and start from."""

import pytest

from aa_jax.config import ConfigError, RunConfig, from_dict
from aa_jax.training.networks import check_trainable
from configs.baselines import sd_i2v


def config_of(base):
    return from_dict(RunConfig, sd_i2v.get_config(base).to_dict())


@pytest.mark.parametrize(
    ("base", "frozen"),
    [("puppets_stage1", {"vae"}), ("stage1", {"vae", "image_encoder", "prompt"})],
)
def test_the_first_stage_trains_unet_controlnet_and_adapter(base, frozen):
    config = config_of(base)

    check_trainable(config)
    assert config.name == f"sd_i2v_{base}"
    assert set(config.model.networks) - set(config.train.trainable) == frozen
    assert "pose_guider" not in config.model.networks


@pytest.mark.parametrize("base", ["puppets_stage2", "stage2"])
def test_the_second_stage_trains_motion_modules_on_the_first_one_s_weights(base):
    first, second = config_of(base.replace("2", "1")), config_of(base)

    check_trainable(second)
    assert second.train.trainable == ("motion_module",)
    assert second.init.weights == f"runs/{first.name}/weights"
    assert second.model.image_encoder == first.model.image_encoder
    assert second.schedule == first.schedule


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tokens", 0, r"model\.ip_adapter\.tokens must be at least 1, got 0"),
        ("scale", -0.5, r"model\.ip_adapter\.scale must be a number from 0 up, got -0\.5"),
        ("projection", "plus", r"model\.ip_adapter\.projection must be one of 'linear', 'resampl"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(RunConfig, {"name": "x", "model": {"ip_adapter": {field: value}}})


def test_only_an_adapter_makes_up_for_other_widths_of_the_image_encoder():
    other = {"image_encoder": {"projection_dim": 1024}}

    from_dict(RunConfig, {"name": "x", "model": {**other, "reference": {"kind": "ip_adapter"}}})
    with pytest.raises(ConfigError, match="cross_attention_dim=768 must equal"):
        from_dict(RunConfig, {"name": "x", "model": other})
