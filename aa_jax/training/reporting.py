"""What a run says while it runs: progress bar, TensorBoard scalars and one JSON line per step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from aa_jax import files
from aa_jax.config import TrainConfig


class Reporter:
    """Counts steps and reports their metrics; a context manager.

    Metrics are fetched one step late, so that the device never waits for the host.
    """

    def __init__(self, workdir: Path, config: TrainConfig, *, first_step: int):
        self._config = config
        self._step = first_step
        self._pending: tuple[int, Any] | None = None
        self._tensorboard = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)
        self._lines = _open_log(workdir / "steps.jsonl", first_step)
        self._bar = tqdm(initial=first_step, total=config.steps, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
        self._bar.close()
        self._lines.close()
        self._tensorboard.close()

    def step(self, metrics: dict[str, jax.Array]) -> int:
        """Takes the metrics of the step just dispatched and returns the number of steps done.

        Raises:
          FloatingPointError: the loss of the step before is not finite.
        """
        self._flush()
        self._step += 1
        self._pending = (self._step, metrics)
        return self._step

    def validation(self, scalars: dict[str, float]) -> None:
        """Reports figures on held-out data."""
        for name, value in scalars.items():
            self._tensorboard.add_scalar(f"validation/{name}", value, self._step)
        text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        self._bar.write(f"step {self._step}: {text}")

    def _flush(self) -> None:
        if self._pending is None:
            return
        number, metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"loss is {values['loss']} at step {number} (gradient norm {values['grad_norm']}, "
                f"parameter norm {values['param_norm']})"
            )
        self._lines.write(json.dumps({"step": number, **values}) + "\n")
        self._bar.update()
        if number % self._config.log_every == 0:
            self._lines.flush()
            self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            for name, value in values.items():
                self._tensorboard.add_scalar(f"train/{name}", value, number)


def _open_log(path: Path, first_step: int) -> Any:
    """Opens the step log for appending, without the lines of steps that will be run again."""
    if path.exists():
        lines = [
            line
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("}\n") and json.loads(line)["step"] <= first_step
        ]
        files.write_text(path, "".join(lines))
    return path.open("a")
