"""What all command lines share; needs the standard library only, so that `--help` is quick."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


class Parser(argparse.ArgumentParser):
    """An argument parser that tells a mistake in one line, with exit code 2."""

    def error(self, message: str):
        print(as_called(f"error: {message} (see --help)"), file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(self._joined(args), namespace)

    def _joined(self, arguments: Sequence[str] | None) -> list[str]:
        """Arguments with `--output -x.mp4` as `--output=-x.mp4`: a name may begin with a dash."""
        joined: list[str] = []
        for argument in sys.argv[1:] if arguments is None else arguments:
            action = self._option_string_actions.get(joined[-1]) if joined else None
            takes_one = action is not None and action.nargs is None
            dashed = argument.startswith("-") and not argument.startswith("--")
            if takes_one and dashed and argument not in self._option_string_actions:
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined

    def format_help(self) -> str:
        return as_called(super().format_help())


def as_called(text: str) -> str:
    """Text whose commands are those of an installed package, if the user called one of these.

    `python sample.py`, and its name alone, then is `aa-jax-sample`, and so are the others.
    """
    if not Path(sys.argv[0]).stem.startswith("aa-jax-"):
        return text
    text = text.replace("python -m convert", "aa-jax-convert")
    return re.sub(r"(python )?\b(sample|prepare|train|evaluate|app)\.py\b", r"aa-jax-\2", text)


def respelled(argument: str, separator: Literal["_", "-"]) -> str:
    """`--guidance-scale=2` as `--guidance_scale=2`, or the reverse: both spellings are accepted."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    other = "-" if separator == "_" else "_"
    return f"--{name[2:].replace(other, separator)}{equals}{value}"
