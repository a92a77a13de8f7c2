"""The weights directory: one safetensors file per network beside a `config.json`.

`config.json` holds the architecture, the noise schedule, the skeleton style, the sampling defaults
and where the weights came from, so that a directory needs nothing else to be sampled from. A
directory may hold some of the networks only: those whose files are there. Their part of the
architecture is then what counts; the rest is filled in when the others are added.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from aa_jax import config as config_lib
from aa_jax import files

Params = Mapping[str, Any]

BUNDLED = "bundled"
"""Names the weights that come with the package wherever a weights directory is asked for."""


SECTIONS = {
    "vae": "autoencoder",
    "image_encoder": "image_encoder",
    "reference_unet": "unet",
    "denoising_unet": "unet",
    "motion_module": "motion_module",
    "pose_guider": "pose_guider",
    "controlnet": "unet",
    "resnet": "reference",
    "resnet_projection": "unet",
    "reference_fusion": "unet",
    "ip_adapter": "ip_adapter",
    "prompt": "prompt",
    "pose_controlnet": "unet",
}
"""The part of `ModelConfig` that describes each network."""


_BESIDES = {
    "controlnet": ("reference.hint_channels",),
    "resnet": ("reference.resnet_layers", "reference.resnet_width"),
    "resnet_projection": ("reference.resnet_width",),
    "pose_controlnet": ("pose_guider.block_out_channels",),
}
"""Fields of other parts that describe a network."""


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
def abstract_params(
    model: config_lib.ModelConfig, networks: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Shapes and dtypes by name of the networks named, by default of all; allocates nothing."""
    return jax.eval_shape(lambda: init_params(jax.random.key(0), model, networks))


def init_params(
    key: jax.Array, model: config_lib.ModelConfig, networks: Iterable[str] | None = None
) -> dict[str, Any]:
    """Random float32 parameters of the named networks, by default of all the model has."""
    from aa_jax.models import animate_anyone, autoencoder, image_encoder

    wanted = set(model.networks if networks is None else networks)
    keys = jax.random.split(key, 3)
    params = {}
    if "vae" in wanted:
        params["vae"] = autoencoder.Autoencoder(model.autoencoder).init_params(keys[0])
    if "image_encoder" in wanted:
        encoder = image_encoder.ImageEncoder(model.image_encoder)
        params["image_encoder"] = encoder.init_params(keys[1])
    if wanted - params.keys():
        params |= animate_anyone.init_params(keys[2], model, wanted)
    return params


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


def networks(directory: str | Path) -> tuple[str, ...]:
    """The networks whose files a weights directory holds."""
    folder = resolve(directory)
    return tuple(n for n in config_lib.ALL_NETWORKS if (folder / f"{n}.safetensors").exists())


def hashes(directory: str | Path) -> dict[str, str]:
    """SHA-256, hexadecimal, of the file of each network that a weights directory holds.

    Raises:
      OSError: one cannot be read.
    """
    folder = resolve(directory)
    return {name: files.sha256(folder / f"{name}.safetensors") for name in networks(folder)}


def differences(
    network: str, a: config_lib.ModelConfig, b: config_lib.ModelConfig
) -> tuple[str, ...]:
    """Fields of two architectures that make a network's parameters mean something else.

    Many leave no trace in the parameters' shapes: numbers of heads, positions, groups.
    """
    section = SECTIONS[network]
    names = [f"{section}.{field.name}" for field in dataclasses.fields(getattr(a, section))]
    if section == "reference":
        names = []  # the kind names the networks; what they are follows
    names += _BESIDES.get(network, ())
    if network == "motion_module":
        names = [*(set(names) - {"motion_module.enabled"}), "unet.group_norm_scope"]
    elif network == "ip_adapter":  # a weight that users set
        names.remove("ip_adapter.scale")
    elif section == "unet":  # single frames, as in stage 1, know no scope
        names.remove("unet.group_norm_scope")
    return tuple(sorted(n for n in names if field_of(a, n) != field_of(b, n)))


def field_of(config: Any, name: str) -> Any:
    """A nested field by its dotted name."""
    return functools.reduce(getattr, name.split("."), config)


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
      WeightsError: a file is missing or truncated, of another architecture than `model`, or entries
        are missing, unexpected, mis-shaped.
    """
    directory = resolve(directory)
    config = load_config(directory)
    names = None if networks is None else tuple(networks)
    expected = abstract_params(model or config.model, names)
    names = names or tuple(expected)
    _check_present(directory, names)
    for name in names if model else ():
        for field in differences(name, config.model, model):
            there, wanted = field_of(config.model, field), field_of(model, field)
            raise WeightsError(
                f"{directory / 'config.json'}: {name} is of another architecture: model.{field} is "
                f"{there!r} there, {wanted!r} is asked for"
            )
    return config, {
        name: _load_network(directory / f"{name}.safetensors", expected[name], dtype)
        for name in names
    }


def _check_present(directory: Path, names: Iterable[str]) -> None:
    present = networks(directory)
    if absent := [name for name in names if name not in present]:
        raise WeightsError(
            f"{directory / absent[0]}.safetensors: no such file; the directory holds "
            f"{', '.join(present) or 'no networks'}, without {', '.join(absent)}: add what is "
            "missing (python -m convert --help), or name those to take (config.init.networks)"
        )


def _load_network(path: Path, expected: Params, dtype: Any) -> dict[str, Any]:
    import safetensors
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path}: truncated or no safetensors file ({error})") from None
    except (AttributeError, KeyError, TypeError) as error:  # float8 and others numpy knows not
        raise WeightsError(
            f"{path}: no numbers that are read ({error}); float32, float16 and bfloat16 are"
        ) from None
    wanted = traverse_util.flatten_dict(expected, sep=".")
    problems = []
    if missing := sorted(wanted.keys() - found.keys()):
        problems.append(f"missing {some(missing)}")
    if unexpected := sorted(found.keys() - wanted.keys()):
        problems.append(f"unexpected {some(unexpected)}")
    misshaped = [
        f"{k} {found[k].shape}, expected {wanted[k].shape}"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    ]
    if misshaped:
        problems.append(f"mis-shaped {some(misshaped)}")
    if problems:
        raise WeightsError(f"{path}: weights of another architecture: {'; '.join(problems)}")
    return traverse_util.unflatten_dict(
        {k: np.asarray(v, dtype=dtype) for k, v in found.items()}, sep="."
    )


def some(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
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
    with files.replacing(Path(directory)) as folder:
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (folder / "config.json").write_text(text + "\n")
        for name, tree in params.items():
            flat = traverse_util.flatten_dict(tree, sep=".")
            arrays = {k: np.asarray(v).astype(dtype) for k, v in flat.items()}
            files.save_arrays(folder / f"{name}.safetensors", arrays)
