from pathlib import Path

import pytest

from aa_jax import cli
from aa_jax.evaluation import cli as evaluation
from aa_jax.training import cli as training

ROOT = Path(__file__).parents[1]
STAGE1 = str(ROOT / "configs" / "puppets_stage1.py")


def command(script, *arguments):
    """Runs an entry point's command line in this process; returns its exit code."""
    main = {"train.py": training.main, "evaluate.py": evaluation.main}[script]
    return main(list(map(str, arguments)))


def error_line(capsys):
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1, err
    assert err[0].startswith("error: ")
    return err[0]


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_teaches_with_examples(script, capsys):
    assert command(script, "--help") == 0
    out = capsys.readouterr().out
    assert f"python {script} --config configs/" in out
    assert "--config " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config is missing"),
        (["--config", "nowhere.py"], "nowhere.py"),
        (["--config", STAGE1, "--config.train.stepz=3"], "unknown field train.stepz"),
        (["--config", STAGE1, "--config.train.steps.x=3"], "train.steps is a single value"),
        (["--config", STAGE1, "--config.train.steps=many"], "many"),
        (["--config", STAGE1, "--config.train.steps=0"], "train.steps must be at least 1"),
        (["--config", STAGE1, "--config.data.width=66"], "64 would be"),
        (["--config", STAGE1, "--wrkdir=x"], "wrkdir"),
        (["--config", STAGE1, "stray"], "stray"),
        (["--config", STAGE1, "--config.data.buckets", "8x8", "16x16"], "16x16"),
        (["--config", STAGE1, "--config.data.buckets=8x8"], "puppets are drawn at any size"),
        (["--config", STAGE1, "--config.train.trainable=unet,vae"], "unknown unet"),
        (["--config", STAGE1, "--config.model.unet.block_out_channels[9]=8"], "no such entry"),
        (["--config", STAGE1, "--config.train.steps"], "needs a value"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert command("train.py", *arguments) == 2
    assert message in error_line(capsys)


def test_missing_weights_are_one_line_and_exit_code_1(tmp_path, capsys):
    missing = tmp_path / "nowhere"
    arguments = ["--config", STAGE1, f"--config.init.weights={missing}", f"--workdir={tmp_path}/r"]
    assert command("train.py", *arguments) == 1
    assert str(missing) in error_line(capsys)


def test_weights_to_evaluate_that_do_not_exist_are_named(tmp_path, capsys):
    config = ROOT / "configs" / "puppets_eval.py"
    assert command("evaluate.py", "--config", config, f"--weights={tmp_path}") == 1
    assert "config.json: no such file" in error_line(capsys)


def test_dry_run_prints_the_plan_and_touches_nothing(tmp_path, capsys):
    """Hyphens serve as well as underscores."""
    workdir = tmp_path / "run"
    assert command("train.py", "--config", STAGE1, "--dry-run", f"--workdir={workdir}") == 0
    assert "FLOPs per step" in capsys.readouterr().out
    assert not workdir.exists()


def run_with(*arguments):
    """The config that a command line makes."""
    made = []
    code = cli.run(lambda config, _: made.append(config), "", lambda values: None, arguments)
    assert code == 0
    return made[0]


def test_flags_change_fields_whether_they_stand_before_or_behind_the_file(tmp_path):
    flags = tmp_path / "flags.txt"
    flags.write_text("--config.seed=4\n")
    config = run_with(
        "--config.train.trainable=vae",
        "--config.train.trainable=reference_unet, pose_guider",
        f"--config={ROOT / 'configs' / 'stage1.py'}",
        f"--config={STAGE1}",
        "--config.data.buckets=",
        "--config.data.min-frame-gap",
        "2",
        "--config.model.unet.attention_levels[0]=no",
        f"--flagfile={flags}",
    )
    assert config.name == "puppets_stage1"
    assert config.train.trainable == ("reference_unet", "pose_guider")
    assert config.data.buckets == ()
    assert config.data.min_frame_gap == 2
    assert config.model.unet.attention_levels[0] is False
    assert config.seed == 4


def test_a_smoke_run_of_two_steps_needs_no_other_warm_up():
    train = run_with(f"--config={STAGE1}", "--config.train.steps=2").train
    assert train.warmup == 2 < train.warmup_steps


def test_a_defect_of_the_program_keeps_its_traceback():
    def broken():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        cli.report_errors(broken)


def test_a_full_disk_is_one_line(capsys):
    def write():
        raise OSError(28, "No space left on device", "weights/vae.safetensors")

    assert cli.report_errors(write) == 1
    assert "No space left on device" in error_line(capsys)
