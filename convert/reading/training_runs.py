"""The networks of a training run: what it trained from its checkpoint, the rest from its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from aa_jax import weights
from aa_jax.config import ConfigError, RunConfig, from_dict
from convert import ConvertError
from convert.reading.sources import open_source
from convert.reading.tensors import Tensor


def is_run(path: Path) -> bool:
    """Whether a folder is the work directory of a training run."""
    return (path / "checkpoints").is_dir()


def open_run(
    workdir: Path, *, step: int | None = None, raw: bool = False
) -> tuple[weights.WeightsConfig, dict[str, Mapping[str, Tensor]]]:
    """A run's config and networks, by dotted path.

    Args:
      workdir: the run's `--workdir`.
      step: which checkpoint; by default the newest.
      raw: the parameters themselves where the run averages them.

    Raises:
      ConvertError: there is no such checkpoint, or config.json is not that of a run.
    """
    run = _run_config(workdir)
    step, trained = _restore(workdir, step, raw)
    networks = {
        name: {key: Tensor.of(np.asarray(x)) for key, x in _flat(tree).items()}
        for name, tree in trained.items()
    }
    start = run.init.weights
    for name in weights.networks(start) if start else ():
        taken = not run.init.networks or name in run.init.networks
        if taken and name not in networks and (name in _needed(run)):
            networks[name] = open_source(weights.resolve(start) / f"{name}.safetensors")
    config = weights.WeightsConfig(
        model=run.model,
        schedule=run.schedule,
        skeleton=run.skeleton,
        sampling=run.sampling,
        provenance={"run": run.name, "steps": step},
    )
    return config, {name: networks[name] for name in weights.SECTIONS if name in networks}


def _needed(run: RunConfig) -> tuple[str, ...]:
    from aa_jax.training.networks import networks_of

    return networks_of(run)


def _run_config(workdir: Path) -> RunConfig:
    path = workdir / "config.json"
    try:
        return from_dict(RunConfig, json.loads(path.read_text()))
    except FileNotFoundError:
        raise ConvertError(f"{path}: no such file; a training run leaves one") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ConfigError, TypeError) as error:
        raise ConvertError(f"{path}: not the config of a training run: {error}") from None


def _restore(workdir: Path, step: int | None, raw: bool) -> tuple[int, dict[str, Any]]:
    """The parameters alone: the optimizer's moments, twice their size, are not read."""
    import orbax.checkpoint as ocp

    folder = (workdir / "checkpoints").absolute()
    with ocp.CheckpointManager(folder) as manager:
        steps = manager.all_steps()
    if step is None and steps:
        step = max(steps)
    if step not in steps:
        known = ", ".join(map(str, sorted(steps))) or "none"
        raise ConvertError(f"{folder}: has no checkpoint of step {step}; there are: {known}")
    with ocp.PyTreeCheckpointer() as reader:
        item = folder / str(step) / "default"
        tree = reader.metadata(item).item_metadata.tree
        name = "ema" if tree.get("ema") and not raw else "params"
        wanted = {name: _map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree[name])}
        restored = reader.restore(
            item, args=ocp.args.PyTreeRestore({name: tree[name]}, wanted, partial_restore=True)
        )
    return step, restored[name]


def _map(function: Any, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _map(function, value) for key, value in tree.items()}
    return function(tree)


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")
