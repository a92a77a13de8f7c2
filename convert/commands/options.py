"""Flags that several commands share."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from aa_jax import weights
from aa_jax.config import ConfigError, ModelConfig, from_dict
from convert import ConvertError
from convert.reading import presets


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of every command that writes a weights directory."""
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="weights directory to make, or to add to",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace networks the directory holds already"
    )
    parser.add_argument(
        "--allow_nonfinite", action="store_true", help="convert NaN and infinite numbers too"
    )
    parser.add_argument(
        "--architecture",
        type=Path,
        metavar="JSON",
        help="config.json of a weights directory (or that directory) whose architecture the files "
        "have; default: Stable Diffusion 1.5's, or what a config.json beside them says",
    )


def architecture(flags: argparse.Namespace, default: ModelConfig) -> ModelConfig:
    """The architecture a command assumes where no `config.json` beside the weights tells it.

    That of `--architecture`; of the output directory where it exists; the default otherwise.
    """
    if flags.architecture is None:
        existing = existing_config(flags.output)
        return existing.model if existing else default
    path = flags.architecture
    path = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
        return from_dict(ModelConfig, values.get("model", values))
    except FileNotFoundError:
        raise ConvertError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise ConvertError(f"{path}: cannot be read as JSON: {error}") from None
    except ConfigError as error:
        raise ConvertError(f"{path}: {error}") from None


def existing_config(directory: Path) -> weights.WeightsConfig | None:
    """The config of the weights directory that is to be added to; None where there is none."""
    if not (directory / "config.json").exists():
        return None
    return weights.load_config(directory)


def starting_config(directory: Path) -> weights.WeightsConfig:
    """The config to build on: the output directory's, or Stable Diffusion's without motion."""
    existing = existing_config(directory)
    if existing:
        return existing
    model = presets.STABLE_DIFFUSION_1_5
    motion = dataclasses.replace(model.motion_module, enabled=False)
    return weights.WeightsConfig(
        model=dataclasses.replace(model, motion_module=motion),
        schedule=presets.STABLE_DIFFUSION_SCHEDULE,
        skeleton=presets.PAPER_SKELETON,
        sampling=presets.PAPER_SAMPLING,
    )


def remaining(directory: Path, written: list[str]) -> list[str]:
    """Networks a directory holds that the command does not replace."""
    return [name for name in weights.networks(directory) if name not in written]
