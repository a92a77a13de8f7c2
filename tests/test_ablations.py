"""The ablations' configs: what they train, what they start from, and that the runs have names."""

import importlib

import pytest

from aa_jax.config import ConfigError, RunConfig, from_dict
from aa_jax.training.networks import check_trainable

TABLES_4_AND_5 = (
    "reference_net", "clip", "controlnet", "clip_controlnet", "resnet", "concatenation",
)  # fmt: skip
SECOND_STAGES = (*TABLES_4_AND_5, "two_stage")
FIRST_STAGES = (
    *SECOND_STAGES, "controlnet_start", "clip_controlnet_start", "temporal_none", "one_stage",
)  # fmt: skip


def config_of(name, base):
    module = importlib.import_module(f"configs.ablations.{name}")
    return from_dict(RunConfig, module.get_config(base).to_dict())


@pytest.mark.parametrize("base", ["puppets_stage1", "stage1"])
@pytest.mark.parametrize("name", FIRST_STAGES)
def test_a_first_stage_trains_what_its_model_has(name, base):
    config = config_of(name, base)

    check_trainable(config)
    assert config.name == f"{name}_{base}"
    learned = set(config.model.networks) - set(config.train.trainable)
    if "controlnet" not in config.model.networks:
        frozen = {"vae"} if base == "puppets_stage1" else {"vae", "image_encoder", "resnet"}
        assert learned == frozen & set(config.model.networks)
    else:
        assert config.train.trainable == ("controlnet",)


@pytest.mark.parametrize("base", ["puppets_stage2", "stage2"])
@pytest.mark.parametrize("name", SECOND_STAGES)
def test_a_second_stage_trains_motion_modules_on_the_first_one_s_weights(name, base):
    first, second = config_of(name, base.replace("2", "1")), config_of(name, base)

    check_trainable(second)
    assert second.train.trainable == ("motion_module",)
    assert second.init.weights == f"runs/{first.name}/weights"
    assert second.model.reference == first.model.reference


def test_a_controlnet_and_its_start_share_the_steps_of_stage_1():
    whole = config_of("clip", "stage1").train.steps
    start, control = config_of("controlnet_start", "stage1"), config_of("controlnet", "stage1")

    assert start.train.steps + control.train.steps == whole
    assert control.init.weights == f"runs/{start.name}/weights"
    assert start.model.reference.kind == "none"


def test_one_stage_sees_as_many_frames_as_two():
    def frames(config):
        return config.train.steps * config.train.batch_size * config.data.frames

    one = config_of("one_stage", "stage1")
    two = [config_of("two_stage", base) for base in ("stage1", "stage2")]

    assert frames(one) == sum(map(frames, two))
    assert "motion_module" in one.train.trainable


@pytest.mark.parametrize(("name", "base"), [("clip", "sd15"), ("one_stage", "stage2")])
def test_what_there_is_not_is_refused_in_one_line(name, base):
    with pytest.raises(ConfigError, match=r"none of puppets_stage1|no second stage"):
        config_of(name, base)


def test_only_features_can_be_concatenated():
    reference = {"kind": "clip", "fusion": "concatenation"}

    with pytest.raises(ConfigError, match=r"model\.reference\.fusion: 'clip' has no features"):
        from_dict(RunConfig, {"name": "x", "model": {"reference": reference}})
