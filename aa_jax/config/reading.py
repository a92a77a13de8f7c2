"""How nested mappings become frozen dataclasses, and the error of settings that are wrong."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting is wrong; the message names the field and says what would be right."""


def require(condition: bool, message: str) -> None:
    """Raises `ConfigError` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds a config dataclass from nested mappings.

    Args:
      cls: the dataclass.
      values: one entry per field to set; the others keep their defaults.
      where: dotted path of this mapping, for messages.

    Raises:
      ConfigError: a field is unknown, missing, of a wrong type, or has a refused value.
    """
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            raise _unknown(cls, where, name)
    for field in dataclasses.fields(cls):
        optional = {field.default, field.default_factory} != {dataclasses.MISSING}
        if field.name not in values and not optional:
            raise ConfigError(f"field {_join(where, field.name)} is missing")
    return cls(**{n: _coerce(hints[n], v, _join(where, n)) for n, v in values.items()})


def type_of(cls: type, path: str) -> Any:
    """The type of the field that `path`, dotted, names in the config dataclass `cls`.

    Raises:
      ConfigError: there is no such field.
    """
    where = ""
    for name in path.split("."):
        if not dataclasses.is_dataclass(cls):
            raise ConfigError(f"unknown field {_join(where, name)}; {where} is a single value")
        hints = typing.get_type_hints(cls)
        if name not in hints:
            raise _unknown(cls, where, name)
        cls, where = hints[name], _join(where, name)
    return cls


def _unknown(cls: type, where: str, name: str) -> ConfigError:
    names = ", ".join(field.name for field in dataclasses.fields(cls))
    return ConfigError(f"unknown field {_join(where, name)}; {where or 'the config'} has {names}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _coerce(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not hasattr(value, "keys"):
            raise ConfigError(f"{where} must be a group of fields, got {value!r}")
        return from_dict(hint, dict(value), where)
    if origin is Literal:
        if value not in typing.get_args(hint):
            choices = ", ".join(map(repr, typing.get_args(hint)))
            raise ConfigError(f"{where} must be one of {choices}, got {value!r}")
        return value
    if origin in (types.UnionType, typing.Union):
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_coerce(typing.get_args(hint)[0], v, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} must be {hint.__name__}, got {value!r}")
    return value
