"""Checkpoints of a run, through orbax."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from aa_jax.config import TrainConfig
from aa_jax.training.state import TrainState


class CheckpointError(ValueError):
    """Checkpoints cannot be read or written; the message names the folder and says why."""


class Checkpoints:
    """The checkpoints of one work directory, written in the background; on a CPU, at once.

    The state alone is enough to resume: data and random numbers follow from the step. All processes
    of a run write and read together; a checkpoint is there whole or not at all. The newest are
    kept: none is "the best" by a metric, for which orbax 0.12.8 may take one that is NaN.
    """

    def __init__(self, workdir: Path, config: TrainConfig):
        self._folder = (workdir / "checkpoints").absolute()
        self._every = config.save_every
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=config.keep_checkpoints, save_interval_steps=config.save_every
            ),
        )

    def restore(self, abstract_state: Any) -> TrainState | None:
        """The newest readable state, or None before the first save.

        Newer ones that cannot be read are set aside as `<step>.damaged`, and said so.

        Args:
          abstract_state: shapes, dtypes and, on a mesh, shardings of the state wanted; they need
            not be those it was saved with.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        failures: dict[int, Exception] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._manager.restore(step, args=ocp.args.StandardRestore(abstract_state))
            except Exception as error:  # whatever orbax and its storage raise for damaged files
                failures[step] = error
                continue
            self._set_aside(failures, step)
            return state
        for step, error in failures.items():
            raise CheckpointError(
                f"{self._folder / str(step)}: cannot be read ({_reason(error)}), nor can an older "
                "one; move the folder away to start anew"
            )
        return None

    def _set_aside(self, failures: dict[int, Exception], readable: int) -> None:
        for step, error in failures.items():
            damaged = self._folder / str(step)
            if jax.process_index() == 0:
                damaged.rename(damaged.with_name(f"{step}.damaged"))
                print(
                    f"warning: {damaged} cannot be read ({_reason(error)}) and is set aside as "
                    f"{step}.damaged; going on from step {readable}",
                    file=sys.stderr,
                )
        if failures:
            if jax.process_count() > 1:
                from jax.experimental import multihost_utils

                multihost_utils.sync_global_devices("checkpoints set aside")
            self._manager.reload()

    def due(self, step: int) -> bool:
        """Whether the state after `step` steps is to be saved."""
        return step % self._every == 0

    def save(self, step: int, state: TrainState, *, force: bool = False) -> None:
        """Saves the state after `step` steps if that is due, or in any case if forced.

        Raises:
          CheckpointError: this or the save before failed; older checkpoints stay.
        """
        if step != self._manager.latest_step():
            try:
                self._manager.save(step, args=ocp.args.StandardSave(state), force=force)
                if jax.default_backend() == "cpu":
                    # Elsewhere the state is copied to the host first. Here it is written from where
                    # it lies, and the next step, which it is donated to, would make a second one.
                    self._manager.wait_until_finished()
            except Exception as error:
                raise self._not_written(error) from error

    def reached_preemption(self, step: int) -> bool:
        """Whether the processes of this run were told to stop, and all are at this step."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits for writes under way.

        Raises:
          CheckpointError: one of them failed.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_written(error) from error
        finally:
            self._manager.close()

    def _not_written(self, error: Exception) -> CheckpointError:
        kept = self._manager.latest_step()
        return CheckpointError(
            f"{self._folder}: a checkpoint cannot be written ({_reason(error)}); "
            + (f"that of step {kept} is whole" if kept is not None else "there is none before it")
        )


def _reason(error: Exception) -> str:
    """The first words of what storage libraries write by the page."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
