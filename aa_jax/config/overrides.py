"""`--config.group.field=value`: fields changed on the command line, by the types they have here.

Tuples are read as people write them: `a,b`, `a b`, `(a, b)`, `['a', "b"]`; nothing is the empty
tuple. `field[0]=value` changes one entry of a tuple. A flag given again replaces what it said
before. Numbers may be fractions where a fraction may stand: `24000/1001`.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aa_jax.config.reading import ConfigError, type_of

if TYPE_CHECKING:
    from ml_collections import ConfigDict


class Override(NamedTuple):
    """One field to change.

    Attributes:
      path: dotted, of the field.
      index: of the entry of a tuple to change; None: the whole field.
      value: as the field's type wants it.
    """

    path: str
    index: int | None
    value: Any


def split(cls: type, argv: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Takes the overrides out of a command line.

    Args:
      cls: the config dataclass.
      argv: arguments. A value stands behind `=` or is the next argument; a field that is yes or no
        takes no next argument, its name alone says yes and `--noconfig.` before it no.

    Returns:
      The arguments left, and the overrides in their order.

    Raises:
      ConfigError: a field is unknown, or a value is none of its type.
    """
    left, overrides = [], []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            left += [argument, *rest]
            break
        match = re.fullmatch(r"--?(no)?config\.([^=]*)(=.*)?", argument, re.DOTALL)
        if not match:
            left.append(argument)
            continue
        path, index = _target(match[2])
        hint = type_of(cls, path)
        where = path
        if index is not None:
            if typing.get_origin(hint) is not tuple:
                raise ConfigError(f"{path} is no list and has no entry [{index}]")
            hint, where = typing.get_args(hint)[0], f"{path}[{index}]"
        text = match[3][1:] if match[3] else None
        if match[1] and (hint is not bool or text is not None):
            raise ConfigError(f"--noconfig.{where}: only a field that is yes or no can be so unset")
        if text is None and hint is bool:
            text = "false" if match[1] else "true"
        if text is None:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"--config.{where} needs a value: --config.{where}=...")
            text = rest.pop(0)
        overrides.append(Override(path, index, parse(hint, text, where)))
    return left, overrides


def apply(config: ConfigDict, overrides: Iterable[Override]) -> None:
    """Makes the changes, in their order, in what a config file returned.

    Raises:
      ConfigError: an entry to change does not exist.
    """
    from ml_collections import ConfigDict

    with config.unlocked():
        for path, index, value in overrides:
            *groups, name = path.split(".")
            holder = config
            for group in groups:
                if group not in holder:
                    holder[group] = ConfigDict()
                holder = holder[group]
            if index is not None:
                value = _with_entry(holder.get(name, ()), index, value, path)
            with holder.ignore_type():  # the value is of the type that the dataclass wants
                holder[name] = value


def parse(hint: Any, text: str, where: str) -> Any:
    """A value of a field's type, from what stands on a command line.

    Args:
      hint: bool, int, float, str, a Literal of strings, or a tuple of one of these.
      text: the value as written.
      where: the field's name, for messages.

    Raises:
      ConfigError: the text is no such value.
    """
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return tuple(parse(kind, entry, where) for entry in _entries(text, where))
    if hint is str:
        return text
    if typing.get_origin(hint) is Literal:
        if text not in typing.get_args(hint):
            choices = ", ".join(map(repr, typing.get_args(hint)))
            raise ConfigError(f"{where} must be one of {choices}, got {text!r}")
        return text
    if hint not in _PARSERS:
        raise ConfigError(f"{where} is a group of fields; set one of them: --config.{where}.NAME=")
    try:
        return _PARSERS[hint](text.strip())
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        raise ConfigError(f"{where} must be {hint.__name__}, got {text!r}") from None


def _float(text: str) -> float:
    """A number or a fraction of two."""
    numerator, slash, denominator = text.partition("/")
    value = float(numerator) / float(denominator) if slash else float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


_WORDS = {"true": True, "t": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "f": False, "no": False, "off": False, "0": False}
_PARSERS = {int: int, float: _float, bool: lambda text: _WORDS[text.lower()]}


def _target(text: str) -> tuple[str, int | None]:
    """Path and index of `group.field[index]`; hyphens serve as well as underscores."""
    match = re.fullmatch(r"([\w.-]+)(?:\[\s*([+-]?\d+)\s*\])?", text)
    if not match:
        raise ConfigError(
            f"--config.{text}: fields look like group.name, entries of lists like group.name[0]"
        )
    return match[1].replace("-", "_"), None if match[2] is None else int(match[2])


_BRACKETS = {"(": ")", "[": "]"}


def _entries(text: str, where: str) -> list[str]:
    """The entries of a list: between commas, or without any between spaces."""
    inner = text.strip()
    if whole := re.fullmatch(r"(['\"])((?:(?!\1).)*)\1", inner):
        inner = whole[2].strip()  # quotes that no shell took off
    if inner[:1] in _BRACKETS or inner[-1:] in _BRACKETS.values():
        if len(inner) < 2 or _BRACKETS.get(inner[0]) != inner[-1]:
            raise ConfigError(f"{where}: the brackets of {text!r} do not close")
        inner = inner[1:-1].strip()
    if not inner:
        return []
    parts = inner.removesuffix(",").split(",") if "," in inner else inner.split()
    entries = [_unquoted(part.strip(), text, where) for part in parts]
    if "" in entries:
        raise ConfigError(f"{where}: an entry of {text!r} is empty")
    return entries


def _unquoted(entry: str, text: str, where: str) -> str:
    quotes = "'\""
    inner = entry
    if entry[:1] in quotes or entry[-1:] in quotes:
        if entry and (len(entry) < 2 or entry[0] != entry[-1]):
            raise ConfigError(f"{where}: the quotes of {text!r} do not close")
        inner = entry[1:-1].strip()
    if set(inner) & set("()[]'\""):
        raise ConfigError(f"{where}: {text!r} is no list of single values")
    return inner


def _with_entry(values: Any, index: int, value: Any, path: str) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, list | tuple):
        raise ConfigError(f"{path} must be a list, got {values!r}")
    if not -len(values) <= index < len(values):
        count = f"{len(values)} entries" if len(values) != 1 else "1 entry"
        raise ConfigError(f"{path}[{index}]: there is no such entry; {path} has {count}")
    changed = list(values)
    changed[index] = value
    return tuple(changed)
