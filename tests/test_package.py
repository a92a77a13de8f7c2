"""A wheel of the project, installed where there is no checkout, is all that its commands need."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aa_jax.media.video import read_video

ROOT = Path(__file__).parents[1]
COMMANDS = ("sample", "prepare", "train", "evaluate", "app", "convert")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the packages of a wheel, and `bin`."""
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "aa_jax", checkout / "aa_jax")
    shutil.copytree(ROOT / "convert", checkout / "convert")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    wheels, folder = checkout / "wheels", tmp_path_factory.mktemp("installed")
    pip("wheel", "--no-build-isolation", f"--wheel-dir={wheels}", str(checkout))
    pip("install", f"--target={folder}", *map(str, wheels.glob("*.whl")))
    return folder


def pip(command, *arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-index", *arguments],
        check=True,
    )


@pytest.fixture
def call(installed, tmp_path):
    """Runs an installed command in an empty folder; returns what it prints."""

    def run(name, *arguments):
        environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
        done = subprocess.run(
            [sys.executable, installed / "bin" / f"aa-jax-{name}", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_that_was_called(name, call):
    text = call(name, "--help")
    assert f"aa-jax-{name} " in text
    assert "python " not in text


def test_animates_with_the_bundled_weights(call, tmp_path):
    said = call("sample", "--frames=2", "--steps=1", "--output=a.mp4")
    assert "wrote a.mp4: 2 frames of 64x64" in said
    frames, _ = read_video(tmp_path / "a.mp4")
    assert frames.shape == (2, 64, 64, 3)
    assert frames.std() > 20  # no empty picture


def test_a_config_may_lie_anywhere_with_what_it_imports(call, tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "mine" / "configs")
    assert "denoising_unet" in call(
        "train", "--config", "mine/configs/puppets_stage1.py", "--dry_run"
    )


def test_converters_know_the_bundled_weights(call, installed):
    folder = installed / "aa_jax" / "assets" / "puppets"
    said = call("convert", "inspect", str(folder))
    assert f"aa-jax-sample --weights {folder}" in said


def test_whatever_a_checkout_has_beside_code_is_there(installed):
    packages = [ROOT / "aa_jax", ROOT / "convert"]
    files = {
        path.relative_to(ROOT)
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(path.suffix == ".cc" for path in files)
    assert [str(path) for path in sorted(files) if not (installed / path).exists()] == []


def test_commands_are_the_files_at_the_root():
    scripts = importlib.metadata.entry_points(group="console_scripts")
    ours = {
        script.name.removeprefix("aa-jax-"): script for script in scripts if "aa-jax" in script.name
    }
    assert set(ours) == set(COMMANDS)
    for name in set(COMMANDS) - {"convert"}:
        assert f"from {ours[name].module} import main" in (ROOT / f"{name}.py").read_text()
    assert ours["convert"].module == "convert.__main__"
