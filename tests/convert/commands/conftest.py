"""Command lines and how they end, and a directory that commands add to."""

import dataclasses
import re

import pytest

from convert.__main__ import main


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command line ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def refusal(self):
        """The one line of error, without its mark; empty where there is none or more than that."""
        line = re.fullmatch(r"error: (.+)\n", self.err)
        return line[1] if line else ""


@pytest.fixture
def run(capsys):
    """Runs a command line."""

    def run(*argv):
        code = main([str(arg) for arg in argv])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def partial(convert, diffusers, tmp_path):
    """A directory with VAE and UNets only."""
    out = tmp_path / "partial"
    convert("stable-diffusion", diffusers, "--output", out)
    return out
