"""Checkpoints of a run, through orbax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from aa_jax.config import TrainConfig
from aa_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one work directory, written in the background.

    The state alone is enough to resume: data and random numbers follow from the step.
    """

    def __init__(self, workdir: Path, config: TrainConfig):
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=config.keep_checkpoints, save_interval_steps=config.save_every
            ),
        )

    def restore(self, abstract_state: Any) -> TrainState | None:
        """The newest state, or None before the first save."""
        step = self._manager.latest_step()
        if step is None:
            return None
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract_state))

    def save(self, step: int, state: TrainState, *, force: bool = False) -> None:
        """Saves the state after `step` steps if that is due, or in any case if forced."""
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state), force=force)

    def close(self) -> None:
        """Waits for writes under way."""
        self._manager.wait_until_finished()
        self._manager.close()
