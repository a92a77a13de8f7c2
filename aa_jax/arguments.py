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
        """Arguments with `--output -x.mp4` as `--output=-x.mp4`: a name may begin with a dash.

        None may be empty, as shells make those of variables that are not set.
        """
        joined: list[str] = []
        for argument in sys.argv[1:] if arguments is None else arguments:
            takes_one = bool(joined) and self._takes_one(joined[-1])
            dashed = argument.startswith("-") and not argument.startswith("--")
            name, equals, value = argument.partition("=")
            if takes_one and not argument:
                self.error(f"argument {joined[-1]}: is empty; give a value or leave it out")
            if equals and not value and self._takes_one(name):
                self.error(f"argument {name}: is empty; give a value or leave it out")
            if takes_one and dashed and argument not in self._option_string_actions:
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined

    def _takes_one(self, name: str) -> bool:
        """Whether an argument is the name of a flag that a single value follows."""
        action = self._option_string_actions.get(name)
        return action is not None and action.nargs is None

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


def person(text: str) -> str | tuple[int, int]:
    """`best`, `tracked`, or frame and number of `0:1`, for an argument's `type`."""
    if text in ("best", "tracked"):
        return text
    frame, colon, number = text.partition(":")
    if not (colon and frame.isdecimal() and number.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"must be best, tracked, or FRAME:NUMBER such as 0:1, got {text!r}"
        )
    return int(frame), int(number)


def size(text: str) -> tuple[int, int]:
    """Width and height of `1280x720`, for an argument's `type`."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be a size such as 1280x720, got {text!r}")
    return int(width), int(height)
