"""A run's claim to its work directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from aa_jax import files
from aa_jax.config import ConfigError, RunConfig, from_dict


def claim(config: RunConfig, workdir: Path) -> None:
    """Writes the config into a new work directory, or checks that an old one has the same.

    The mesh may differ, and fields that are newer than the old config count at their defaults.

    Raises:
      ConfigError: the saved config differs or is none; the message names file and fields.
    """
    path = workdir / "config.json"
    if path.exists():
        differing = _differing_fields(_settings(_read(path)), _settings(config))
        if differing:
            raise ConfigError(
                f"{workdir} holds a run with another config ({', '.join(differing)}); "
                "give another --workdir or the same settings"
            )
    elif jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def _read(path: Path) -> RunConfig:
    try:
        return from_dict(RunConfig, json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not the config of a run ({error})") from None


def _settings(config: RunConfig) -> dict[str, Any]:
    """What two starts of one run must agree on."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    del settings["mesh"]
    return settings


def _differing_fields(saved: Any, ours: Any, where: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(ours, dict):
        return [
            field
            for name in sorted(saved.keys() | ours.keys())
            for field in _differing_fields(
                saved.get(name), ours.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if saved == ours else [f"{where}: {saved} there, {ours} here"]
