"""Command lines of the entry points that take a config file: parsing, and errors in one line."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from aa_jax import config as config_lib
from aa_jax.arguments import as_called, respelled
from aa_jax.config import overrides

Main = Callable[[Any, flags.FlagValues], Any]
"""(config, flags); the config is None where none was given and none is needed."""


def run(
    main: Main,
    doc: str,
    define: Callable[[flags.FlagValues], None],
    argv: Sequence[str] | None = None,
    *,
    needs_config: bool = True,
) -> int:
    """Parses `--config` and further flags, calls `main(config, flags)`, reports errors.

    Args:
      doc: what `--help` prints above the flags.
      define: defines the script's own flags.
      argv: the command line without the script's name; by default the process's.
      needs_config: refuse a command line without `--config`.

    Returns:
      The exit code: 0, 1 where the run failed, 2 for a mistake of the user's.
    """
    values = flags.FlagValues()
    given = sys.argv[1:] if argv is None else argv
    try:
        given, changes = overrides.split(
            config_lib.RunConfig, values.read_flags_from_files(given, force_gnu=False)
        )
    except _USAGE_ERRORS as error:
        return fail(error, 2)
    argv = [sys.argv[0], *(respelled(argument, "_") for argument in given)]
    config_flags.DEFINE_config_file(
        "config",
        help_string="Config file; --config.group.field=value changes a field of it.",
        flag_values=values,
        sys_argv=argv,
    )
    define(values)
    if {"-h", "--help"} & set(argv[1:]):
        print(as_called(f"{doc.strip()}\n\n{_describe(values)}"))
        return 0
    try:
        config = _parse(values, argv, changes, needs_config)
    except _USAGE_ERRORS as error:
        return fail(error, 2)
    return report_errors(lambda: main(config, values))


def report_errors(call: Callable[[], Any]) -> int:
    """Calls, and turns the errors a user can mend into one line and an exit code.

    The project's own errors are `ValueError`s defined under `aa_jax`; a plain `ValueError` is a
    defect of the program and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        call()
    except config_lib.ConfigError as error:
        return fail(error, 2)
    except (OSError, FloatingPointError) as error:
        return fail(error, 1)
    except ValueError as error:
        if not type(error).__module__.startswith("aa_jax"):
            raise
        return fail(error, 1)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    return 0


def fail(error: BaseException | str, code: int) -> int:
    """Prints one line and returns the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(as_called(f"error: {text}"), file=sys.stderr)
    return code


# What absl and ml_collections raise for unknown flags, unknown fields and values of a wrong type.
_USAGE_ERRORS = (
    flags.Error,
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)


def _parse(
    values: flags.FlagValues,
    argv: Sequence[str],
    changes: Sequence[overrides.Override],
    needs_config: bool,
) -> config_lib.RunConfig | None:
    _let_it_import_neighbours(argv)
    rest = values(argv)[1:]
    if rest:
        raise config_lib.ConfigError(f"unexpected argument {rest[0]}; flags look like --name=value")
    if values.config is None and not needs_config and not changes:
        return None
    if values.config is None:
        raise config_lib.ConfigError("--config is missing; choose a file of configs/")
    overrides.apply(values.config, changes)
    return config_lib.from_dict(config_lib.RunConfig, values.config.to_dict())


def _let_it_import_neighbours(argv: Sequence[str]) -> None:
    """`from configs import ...` in a config file then means its own folder, wherever it lies."""
    for argument, following in zip(argv[1:], [*argv[2:], ""], strict=False):
        if given := re.fullmatch(r"--?config(=.*)?", argument):
            path = Path(given[1][1:] if given[1] else following).resolve()
            # The file lies in `configs` or, as `configs/ablations`, in a folder of it.
            sys.path += map(str, path.parents[1:3])


def _describe(values: flags.FlagValues) -> str:
    lines = [f"  --{flag.name:<19} {flag.help}" for flag in map(values.__getitem__, values)]
    return "\n".join(["flags:", *lines])
