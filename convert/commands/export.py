"""`export`: a weights directory, or a training run, back to PyTorch files."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from aa_jax import weights
from aa_jax.config import ModelConfig
from aa_jax.models import torch_names
from aa_jax.models.motion_module import position_table
from convert import ConvertError
from convert.reading import ip_adapter, prompt, spelling, training_runs
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor
from convert.writing import assembly, folders, transfer, writer

DESCRIPTION = """\
Writes a weights directory, or the newest checkpoint of a training run, as PyTorch files.

--layout moore: reference_unet.pth, denoising_unet.pth, motion_module.pth and pose_guider.pth, as
Moore-AnimateAnyone loads them, with sd-vae-ft-mse/ and image_encoder/ beside them.
--layout diffusers: a folder per network, of UNet2DConditionModel (reference_unet/ without its
output layers), AutoencoderKL, CLIPVisionModelWithProjection, MotionAdapter and, where there is one,
ControlNetModel, and scheduler/. An IP-Adapter is ip_adapter.safetensors under its public names, an
encoded prompt prompt.safetensors; other networks that diffusers has no class for are .pth files.

Our config.json goes along, so that `convert animate-anyone` gives back the same directory, bit for
bit.
"""
EXAMPLES = """\
examples:
  python -m convert export weights/moore --output moore_again
  python -m convert export runs/stage2 --layout diffusers --output stage2_diffusers
  python -m convert export runs/stage2 --step 5000 --raw --output stage2_raw
"""

_FOLDERS = {
    "moore": {"vae": "sd-vae-ft-mse", "image_encoder": "image_encoder"},
    "diffusers": {
        "vae": "vae",
        "image_encoder": "image_encoder",
        "denoising_unet": "unet",
        "reference_unet": "reference_unet",
        "motion_module": "motion_adapter",
        "pose_guider": "pose_guider",
        "controlnet": "controlnet",
        "pose_controlnet": "pose_controlnet",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "source", type=Path, metavar="DIR", help="weights directory, or --workdir of a training run"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--layout", choices=sorted(_FOLDERS), default="moore", help="default: %(default)s"
    )
    parser.add_argument("--step", type=int, help="a training run's checkpoint; default: the newest")
    parser.add_argument(
        "--raw", action="store_true", help="a training run's parameters instead of their average"
    )
    parser.add_argument("--overwrite", action="store_true", help="write into an existing folder")


def run(flags: argparse.Namespace) -> int:
    """Runs the command."""
    if flags.output.exists() and not flags.overwrite:
        raise ConvertError(f"{flags.output}: exists; choose another --output or --overwrite")
    if training_runs.is_run(flags.source):
        config, networks = training_runs.open_run(flags.source, step=flags.step, raw=flags.raw)
    elif flags.step is not None or flags.raw:
        raise ConvertError(f"{flags.source}: --step and --raw are for training runs")
    else:
        config, networks = _open_directory(flags.source)
    with assembly.adding(flags.output) as folder:
        for name, tensors in networks.items():
            state = state_dict(name, config.model, tensors)
            place = _write(folder, name, state, config, flags.layout)
            print(f"{name}: {len(state)} tensors in {place.relative_to(folder)}")
        if flags.layout == "diffusers":
            _write_json(
                folder / "scheduler", "scheduler_config.json", folders.scheduler(config.schedule)
            )
        _write_json(folder, "config.json", dataclasses.asdict(config))
    print(f"{flags.output}: written")
    return 0


def _open_directory(path: Path) -> tuple[weights.WeightsConfig, dict[str, Mapping[str, Tensor]]]:
    config = weights.load_config(path)
    names = weights.networks(path)
    if not names:
        raise ConvertError(f"{path}: holds no networks")
    folder = weights.resolve(path)
    return config, {name: open_source(folder / f"{name}.safetensors") for name in names}


def state_dict(name: str, model: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's PyTorch state dict under the names of Moore, diffusers and transformers.

    Args:
      name: one of `aa_jax.config.NETWORKS`.
      model: the architecture.
      tensors: parameters by dotted path.

    Raises:
      ConvertError: they are not those of the architecture.
    """
    expected = {".".join(path): (path, shape) for path, shape in transfer.shapes(name, model)}
    wrong = list(expected.keys() ^ tensors.keys()) or [
        key for key, (_, shape) in expected.items() if tensors[key].shape != shape
    ]
    if wrong:
        raise ConvertError(f"{name}: {weights.some(sorted(wrong))}: not as config.json says")
    if odd := [key for key in expected if tensors[key].dtype.name not in transfer.DTYPES]:
        dtypes = ", ".join(sorted({tensors[key].dtype.name for key in odd}))
        raise ConvertError(f"{name}: {weights.some(sorted(odd))}: {dtypes} cannot be written")
    state = {}
    for key, (path, shape) in expected.items():
        state[torch_names.to_key(path)] = tensors[key].map(
            torch_names.torch_shape(path, shape), _to_torch(path)
        )
    if name == "motion_module":
        state |= _position_tables(state, model.motion_module.max_positions)
    return state


def _to_torch(path: tuple[str, ...]):
    return lambda x: torch_names.transposed(path, x, to_torch=True)


def _position_tables(state: Mapping[str, Tensor], positions: int) -> dict[str, Tensor]:
    """The tables each temporal attention carries in PyTorch; constants here."""
    tables = {}
    for key, tensor in state.items():
        if key.endswith(".to_q.weight"):
            table = position_table(positions, tensor.shape[0])[None]
            attention = key.removesuffix(".to_q.weight")
            tables[attention + torch_names.POSITION_TABLE] = Tensor.of(table)
    return tables


def _write(
    folder: Path,
    name: str,
    state: dict[str, Tensor],
    config: weights.WeightsConfig,
    layout: str,
) -> Path:
    if name in _FILES:
        path = folder / f"{name}.safetensors"
        writer.write_safetensors(path, _FILES[name](state, config.model), metadata={"format": "pt"})
        return path
    place = _FOLDERS[layout].get(name)
    if place is None:
        path = folder / f"{name}.pth"
        save_pickled(path, state)
        return path
    if name == "motion_module":
        state = {spelling.adapter_key(key): tensor for key, tensor in state.items()}
    values = {
        "vae": lambda: folders.autoencoder(config.model.autoencoder),
        "image_encoder": lambda: folders.image_encoder(config.model.image_encoder),
        "reference_unet": lambda: folders.unet(config.model.unet),
        "denoising_unet": lambda: folders.unet(config.model.unet),
        "motion_module": lambda: folders.motion_adapter(config.model),
        "pose_guider": lambda: dataclasses.asdict(config.model.pose_guider),
        "controlnet": lambda: folders.controlnet(
            config.model, config.model.reference.hint_channels
        ),
        "pose_controlnet": lambda: folders.controlnet(
            config.model, config.model.pose_guider.block_out_channels
        ),
    }[name]()
    _write_json(folder / place, "config.json", values)
    stem = "model" if name == "image_encoder" else "diffusion_pytorch_model"
    path = folder / place / f"{stem}.safetensors"
    writer.write_safetensors(path, state, metadata={"format": "pt"})
    return path


_FILES = {
    "ip_adapter": lambda state, model: ip_adapter.public(state, model.unet),
    "prompt": lambda state, model: prompt.public(state),
}
"""Tensors of networks that are a file of their own in every layout."""


def save_pickled(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes a state dict as PyTorch's zipped pickle.

    Raises:
      ConvertError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ConvertError(
            f"{path.name}: writing it needs PyTorch; pip install 'aa_jax[convert]', or use "
            "--layout diffusers"
        ) from None

    def tensor(array: np.ndarray) -> Any:
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    torch.save({key: tensor(value.read()) for key, value in state.items()}, path)


def _write_json(folder: Path, name: str, values: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(values, indent=2) + "\n")
