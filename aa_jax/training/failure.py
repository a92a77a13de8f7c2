"""What a step that was not finite leaves, and taking that step again.

    python -m aa_jax.training.failure runs/stage1/not_finite/0001234

prints loss and norms of the step, and which networks' gradients are not finite.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from aa_jax import files
from aa_jax.config import RunConfig, from_dict
from aa_jax.training import losses, networks, partitioning, program, step
from aa_jax.training.reporting import NonFiniteError
from aa_jax.training.state import TrainState


def dump(
    workdir: Path, error: NonFiniteError, state: TrainState, batch: dict[str, np.ndarray], part: int
) -> Path:
    """Writes `not_finite/<step>`: figures, this process's part of the batch, state before the step.

    Args:
      state: what the program returned, marked as stopped at that step.
      batch: this process's part of that step's batch.
      part: which part it is.
    """
    folder = workdir / "not_finite" / f"{error.step:07d}"
    folder.mkdir(parents=True, exist_ok=True)
    files.save_arrays(folder / f"batch_{part:03d}.safetensors", batch)
    if jax.process_index() == 0:
        report = {
            "step": error.step,
            "example_ids": list(error.example_ids),
            "figures": {name: repr(value) for name, value in error.figures.items()},
        }
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    with ocp.StandardCheckpointer() as checkpointer:
        before = state.replace(step=~state.step)
        checkpointer.save((folder / "state").absolute(), before, force=True)
    return folder


def replay(folder: Path) -> dict[str, Any]:
    """Takes the step of a dump again, on the devices of this process.

    Returns:
      The step's loss and norms, and by name of trainable network the norm of its gradients.
    """
    workdir = folder.absolute().parents[1]
    config = from_dict(RunConfig, json.loads((workdir / "config.json").read_text()))
    partition = partitioning.make_partitioning(config)
    trainable, frozen = program.split(config, networks.initial_params(config))
    abstract = program.abstract_state(config, partition, trainable)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore((folder / "state").absolute(), abstract)
    frozen, batch = partition.place_params(frozen), _read_batch(folder)
    batch = partition.place_batch(batch, config.train.batch_size)
    norms = _gradient_norms(config, state, frozen, batch, partition)
    _, metrics = program.TrainProgram(config, partition)(state, frozen, batch)
    figures = {name: float(x) for name, x in metrics.items() if not np.ndim(x)}
    return {**figures, "gradients": norms}


def _gradient_norms(
    config: RunConfig,
    state: TrainState,
    frozen: PyTree,
    batch: step.Batch,
    partition: partitioning.Partitioning,
) -> dict[str, float]:
    loss_fn = losses.make_loss(config)

    def norms(params: PyTree, frozen: PyTree, batch: step.Batch, number: Any) -> dict[str, Any]:
        keys = step.example_keys(config.seed, "train", number, batch["example_id"])
        grads = jax.grad(lambda p: loss_fn(p, frozen, batch, keys)[0])(params)
        return {name: optax.tree.norm(tree) for name, tree in grads.items()}

    with partition.active():
        result = jax.jit(norms)(state.params, frozen, batch, jnp.asarray(state.step))
    return {name: float(x) for name, x in result.items()}


def _read_batch(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    parts = [load_file(path) for path in sorted(folder.glob("batch_*.safetensors"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        sys.exit(0 if {"-h", "--help"} & set(sys.argv[1:]) else 2)
    for name, value in replay(Path(sys.argv[1])).items():
        print(f"{name}: {value}")
