import dataclasses
import json
import re
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
    overrides,
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
        (
            {"name": "a", "train": {"timestep_shift": 3.0, "timesteps": "sampling"}},
            "train.timestep_shift=3.0 needs train.timesteps=uniform",
        ),
        ({"name": "a", "train": {"validate_every": 0}}, "validate_every must be at least 1"),
        ({"name": "a", "train": {"trainable": ["unet"]}}, "unknown unet"),
        ({"name": "a", "train": {"batch_size": 5, "accumulation_steps": 2}}, "no multiple"),
        ({"name": "a", "sampling": {"steps": 0}}, "sampling.steps must be at least 1"),
        ({"name": "a", "schedule": {"prediction_type": "noise"}}, "must be one of 'epsilon'"),
        ({"name": "a", "model": {"unet": {"in_channels": 5}}}, "must equal"),
        ({"name": "a", "model": {"unet": {"block_out_channels": 320}}}, "must be a list"),
        ({"name": "a", "data": {"width": 500}}, "496 would be"),
        ({"name": "a", "train": {"warmup_steps": -1}}, "warmup_steps must be at least 0"),
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


# --- fields changed on the command line ---------------------------------------------------------


def changed(*arguments):
    """The config that flags make of the default one with two buckets and four widths."""
    config = default_config("run")
    config.data.update(source="D", buckets=("768x768", "512x512"))
    left, changes = overrides.split(RunConfig, arguments)
    assert left == []
    overrides.apply(config, changes)
    return from_dict(RunConfig, config.to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "768x768,576x1024",
        "768x768, 576x1024",
        " 768x768 576x1024 ",
        "768x768,576x1024,",
        "(768x768,576x1024)",
        "[768x768, 576x1024]",
        "('768x768', '576x1024')",
        '["768x768","576x1024"]',
        "'768x768','576x1024'",
        "'768x768,576x1024'",
        '"(768x768, 576x1024)"',
    ],
)
@pytest.mark.parametrize("form", [["--config.data.buckets={}"], ["--config.data.buckets", "{}"]])
def test_lists_of_words_are_read_as_people_write_them(text, form):
    config = changed(*(part.format(text) for part in form))
    assert config.data.buckets == ("768x768", "576x1024")


@pytest.mark.parametrize("text", ["768x768", "768x768,", "('768x768',)", "['768x768']"])
def test_a_list_may_have_one_entry(text):
    assert changed(f"--config.data.buckets={text}").data.buckets == ("768x768",)


@pytest.mark.parametrize("text", ["", " ", "()", "[]", "( )", "''", '""'])
def test_nothing_is_the_empty_list(text):
    assert changed(f"--config.data.buckets={text}").data.buckets == ()


def test_lists_of_numbers_and_of_yes_and_no():
    unet = changed(
        "--config.model.unet.block_out_channels=8 16 32",
        "--config.model.unet.block_out_channels=64, 128",
        "--config.model.unet.attention_levels=(True,false)",
    ).model.unet
    assert unet.block_out_channels == (64, 128)
    assert unet.attention_levels == (True, False)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("data.buckets=8x8,16x16", "data.buckets=768x768,512x512"),
        ("train.trainable=vae", "train.trainable=reference_unet,pose_guider"),
        ("train.steps=1", "train.steps=7"),
        ("data.fps=1", "data.fps=24000/1001"),
        ("mesh.zero1", "mesh.zero1=false"),
        ("train.dtype=float32", "train.dtype=bfloat16"),
        ("data.latents=none", "data.latents=auto"),
    ],
)
def test_a_flag_given_again_replaces(first, again):
    assert changed(f"--config.{first}", f"--config.{again}") == changed(f"--config.{again}")
    assert changed(f"--config.{first}", f"--config.{again}") != changed(
        f"--config.{again}", f"--config.{first}"
    )


def test_one_entry_of_a_list():
    config = changed(
        "--config.model.unet.block_out_channels[0]=64",
        "--config.model.unet.block-out-channels[-1]=640",
        "--config.data.buckets[1]=8x16",
    )
    assert config.model.unet.block_out_channels == (64, 640, 1280, 640)
    assert config.data.buckets == ("768x768", "8x16")


def test_numbers_yes_and_no():
    config = changed(
        "--config.data.fps=30000/1001",
        "--config.train.learning_rate=1e-3",
        "--config.train.steps=1_000",
        "--noconfig.mesh.zero1",
        "-config.seed",
        "-3",
    )
    assert config.data.fps == 30000 / 1001
    assert config.train.learning_rate == 1e-3
    assert config.train.steps == 1000
    assert config.mesh.zero1 is False
    assert config.seed == -3
    assert changed("--config.mesh.zero1=off", "--config.mesh.zero1").mesh.zero1 is True


def test_other_arguments_are_left_as_they_are():
    arguments = ["--config", "a.py", "--config.seed=3", "--work-dir=x", "--", "--config.seed=4"]
    left, changes = overrides.split(RunConfig, arguments)
    assert left == ["--config", "a.py", "--work-dir=x", "--", "--config.seed=4"]
    assert changes == [("seed", None, 3)]


def test_a_field_that_a_config_file_leaves_out_or_sets_to_none_can_be_given():
    config = default_config("run").unlock()
    del config.train
    config.data.fps = None
    _, changes = overrides.split(RunConfig, ["--config.train.steps=5", "--config.data.fps=25"])
    overrides.apply(config, changes)
    run = from_dict(RunConfig, config.to_dict())
    assert (run.train.steps, run.data.fps) == (5, 25.0)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("data.buckets=(8x8,16x16", "data.buckets: the brackets of '(8x8,16x16' do not close"),
        ("data.buckets=8x8)", "do not close"),
        ("data.buckets=['8x8]", "the quotes of"),
        ("data.buckets=8x8,,16x16", "an entry of '8x8,,16x16' is empty"),
        ("data.buckets=,", "an entry of ',' is empty"),
        ("data.buckets=((8x8),(16x16))", "no list of single values"),
        ("data.buckets=768 x 768,8x8", "a size looks like 768x512"),
        ("train.trainable=None", "unknown None"),
        ("model.unet.block_out_channels=8,x", "block_out_channels must be int, got 'x'"),
        ("model.unet.block_out_channels[0]=x", r"block_out_channels[0] must be int, got 'x'"),
        ("model.unet.block_out_channels[4]=8", "[4]: there is no such entry; model.unet.block"),
        ("model.unet.block_out_channels[-5]=8", "block_out_channels has 4 entries"),
        ("model.unet.block_out_channels[0:2]=8", "entries of lists like group.name[0]"),
        ("model.unet.block_out_channels[0][0]=8", "entries of lists like group.name[0]"),
        ("train.steps[0]=8", "train.steps is no list and has no entry [0]"),
        ("train.steps+=8", "fields look like group.name"),
        ("train.steps=1.5", "train.steps must be int, got '1.5'"),
        ("train.steps=", "train.steps must be int, got ''"),
        ("train.steps", "--config.train.steps needs a value"),
        ("data.fps=25/0", "data.fps must be float, got '25/0'"),
        ("data.fps=nan", "data.fps must be float, got 'nan'"),
        ("mesh.zero1=maybe", "mesh.zero1 must be bool, got 'maybe'"),
        ("train.dtype=float64", "train.dtype must be one of 'float32', 'bfloat16'"),
        ("train={'steps': 3}", "train is a group of fields"),
        ("train.stepz=3", "unknown field train.stepz"),
        ("train.steps.x=3", "train.steps is a single value"),
        ("=3", "fields look like group.name"),
    ],
)
def test_a_flag_that_cannot_be_read_is_named(argument, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        changed(f"--config.{argument}")


def test_only_a_field_that_is_yes_or_no_can_be_unset():
    with pytest.raises(
        ConfigError, match=r"--noconfig.train.steps: only a field that is yes or no"
    ):
        changed("--noconfig.train.steps")
