"""Imports flow one way, by the contracts in `pyproject.toml`; breaches are told by name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder):
    """Checks the contracts of a checkout; returns the exit code and what is printed."""
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path):
    """The sources, to be changed."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("aa_jax", "convert"):
        ignored = shutil.ignore_patterns("assets", "__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    return tmp_path


def test_imports_flow_one_way():
    code, said = lint(ROOT)
    assert code == 0, said
    assert "4 kept, 0 broken" in said


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        # a network that reads data: an arrow upwards, and grain within reach
        (
            "aa_jax/models/resnet.py",
            "from aa_jax.data import loader",
            ["aa_jax.models.resnet -> aa_jax.data.loader", "aa_jax.data.loader -> grain"],
        ),
        # a floor that imports what is built on it, if only when it is called
        (
            "aa_jax/media/video.py",
            "def late():\n    from aa_jax.pose import detection",
            ["aa_jax.media.video -> aa_jax.pose.detection"],
        ),
        (
            "convert/reading/tensors.py",
            "from convert.writing import writer",
            ["convert.reading.tensors -> convert.writing.writer"],
        ),
        (
            "aa_jax/weights.py",
            "from convert.reading import sources",
            ["aa_jax.weights -> convert.reading.sources"],
        ),
    ],
)
def test_an_import_upwards_is_named(file, line, broken, checkout):
    path = checkout / file
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    code, said = lint(checkout)
    assert code == 1
    for arrow in broken:
        assert arrow in said


def test_a_room_without_a_floor_is_named(checkout):
    (checkout / "aa_jax" / "attic.py").write_text('"""Where nobody looks."""\n')
    code, said = lint(checkout)
    assert code == 1
    assert "attic" in said
