"""What all command lines share; needs the standard library only, so that `--help` is quick."""

import argparse
import sys
from typing import Literal


class Parser(argparse.ArgumentParser):
    """An argument parser that tells a mistake in one line, with exit code 2."""

    def error(self, message: str):
        print(f"error: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def respelled(argument: str, separator: Literal["_", "-"]) -> str:
    """`--guidance-scale=2` as `--guidance_scale=2`, or the reverse: both spellings are accepted."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    other = "-" if separator == "_" else "_"
    return f"--{name[2:].replace(other, separator)}{equals}{value}"
