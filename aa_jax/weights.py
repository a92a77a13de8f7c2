"""The weights directory: one safetensors file per network beside a `config.json`.

`config.json` holds the architecture, the noise schedule, the skeleton style, the sampling defaults
and where the weights came from, so that a directory needs nothing else to be sampled from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.resources
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from aa_jax import config as config_lib

Params = Mapping[str, Any]

BUNDLED = "bundled"
"""Names the weights that come with the package wherever a weights directory is asked for."""


class WeightsError(ValueError):
    """A weights directory cannot be used; the message names the file, the entry and the fix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Contents of a weights directory's `config.json`."""

    model: config_lib.ModelConfig
    schedule: config_lib.NoiseScheduleConfig
    skeleton: config_lib.SkeletonConfig
    sampling: config_lib.SamplingConfig
    provenance: dict = dataclasses.field(default_factory=dict)


def resolve(directory: str | Path) -> Path:
    """The directory itself, or that of the bundled weights for `bundled`."""
    if str(directory) == BUNDLED:
        return Path(str(importlib.resources.files("aa_jax") / "assets" / "puppets"))
    return Path(directory)


@functools.cache
def abstract_params(model: config_lib.ModelConfig) -> dict[str, Any]:
    """Shapes and dtypes of every network of the model, by name; allocates nothing."""
    return jax.eval_shape(lambda: init_params(jax.random.key(0), model))


def init_params(
    key: jax.Array, model: config_lib.ModelConfig, networks: Iterable[str] | None = None
) -> dict[str, Any]:
    """Random float32 parameters of the named networks, by default of all the model has."""
    from aa_jax.models import animate_anyone, autoencoder, image_encoder

    wanted = set(config_lib.NETWORKS if networks is None else networks)
    keys = jax.random.split(key, 3)
    params = {}
    if "vae" in wanted:
        params["vae"] = autoencoder.Autoencoder(model.autoencoder).init_params(keys[0])
    if "image_encoder" in wanted:
        encoder = image_encoder.ImageEncoder(model.image_encoder)
        params["image_encoder"] = encoder.init_params(keys[1])
    if wanted - params.keys():
        params |= animate_anyone.init_params(keys[2], model)
    return {name: tree for name, tree in params.items() if name in wanted}


def load_config(directory: str | Path) -> WeightsConfig:
    """Reads `config.json`.

    Raises:
      WeightsError: it is missing, no JSON, or not of this project.
    """
    path = resolve(directory) / "config.json"
    try:
        values = json.loads(path.read_text())
        return config_lib.from_dict(WeightsConfig, values)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; a weights directory holds config.json") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from None
    except (config_lib.ConfigError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: {error}") from None


def load(
    directory: str | Path,
    *,
    model: config_lib.ModelConfig | None = None,
    networks: Iterable[str] | None = None,
    dtype: Any = np.float32,
) -> tuple[WeightsConfig, dict[str, Any]]:
    """Loads a weights directory, strictly.

    Args:
      model: the architecture the parameters must have; by default the directory's own.
      networks: which networks to load; by default all of the model.
      dtype: dtype of the parameters returned.

    Returns:
      The directory's config, and parameter trees by network name as numpy arrays.

    Raises:
      WeightsError: a file is missing or truncated, or entries are missing, unexpected, mis-shaped.
    """
    directory = resolve(directory)
    config = load_config(directory)
    expected = abstract_params(model or config.model)
    names = list(expected) if networks is None else list(networks)
    return config, {
        name: _load_network(directory / f"{name}.safetensors", expected[name], dtype)
        for name in names
    }


def _load_network(path: Path, expected: Params, dtype: Any) -> dict[str, Any]:
    import safetensors
    from safetensors.numpy import load_file

    if not path.exists():
        raise WeightsError(f"{path}: no such file; the architecture in config.json needs it")
    try:
        found = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: truncated or no safetensors file ({error})") from None
    wanted = traverse_util.flatten_dict(expected, sep=".")
    problems = []
    if missing := sorted(wanted.keys() - found.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(found.keys() - wanted.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    misshaped = [
        f"{k} {found[k].shape}, expected {wanted[k].shape}"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    ]
    if misshaped:
        problems.append(f"mis-shaped {_some(misshaped)}")
    if problems:
        raise WeightsError(f"{path}: weights of another architecture: {'; '.join(problems)}")
    return traverse_util.unflatten_dict(
        {k: np.asarray(v, dtype=dtype) for k, v in found.items()}, sep="."
    )


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def save(
    directory: str | Path, config: WeightsConfig, params: Params, *, dtype: Any = np.float32
) -> None:
    """Writes a weights directory, replacing an earlier one in a single rename.

    Args:
      params: parameter trees by network name.
      dtype: dtype on disk.
    """
    from safetensors.numpy import save_file

    with replacing(Path(directory)) as folder:
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (folder / "config.json").write_text(text + "\n")
        for name, tree in params.items():
            flat = traverse_util.flatten_dict(tree, sep=".")
            arrays = {k: np.ascontiguousarray(np.asarray(v).astype(dtype)) for k, v in flat.items()}
            path = folder / f"{name}.safetensors"
            save_file(arrays, path)
            path.chmod(0o644)  # safetensors lets the owner alone read


@contextlib.contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Gives a temporary folder that takes `directory`'s place when the block ends well."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if directory.exists():
            old = temporary.with_name(f"{temporary.name}.old")
            directory.rename(old)
            temporary.rename(directory)
            shutil.rmtree(old)
        else:
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
