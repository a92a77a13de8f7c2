"""What a run says while it runs: progress bar, TensorBoard scalars and one JSON line per step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from aa_jax import files
from aa_jax.config import RunConfig

T = TypeVar("T")


class NonFiniteError(FloatingPointError):
    """A step's loss or gradients are not finite.

    Attributes:
      step: the step, from 1.
      figures: what it reported.
    """

    def __init__(self, step: int, figures: dict[str, float], example_ids: range):
        self.step, self.figures, self.example_ids = step, figures, example_ids
        norms = ", ".join(f"{name} {figures[f'{name}_norm']}" for name in ("grad", "param"))
        super().__init__(
            f"loss is {figures['loss']} at step {step} (norms: {norms}; examples "
            f"{example_ids.start} to {example_ids.stop - 1})"
        )


class Reporter:
    """Counts steps and reports their metrics; a context manager.

    Metrics are fetched one step late, so that the device never waits for the host. Of several
    processes the first alone writes.
    """

    def __init__(self, workdir: Path, config: RunConfig, *, first_step: int, speed: Speed):
        self._config, self._speed = config.train, speed
        self._step = first_step
        self._pending: tuple[int, Any] | None = None
        self._writes = jax.process_index() == 0
        self._num_timesteps = config.schedule.num_train_timesteps
        self._bar = tqdm(
            initial=first_step,
            total=config.train.steps,
            unit="step",
            dynamic_ncols=True,
            disable=not self._writes,
        )
        if self._writes:
            self._tensorboard = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=first_step + 1
            )
            self._lines = _open_log(workdir / "steps.jsonl", first_step)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[0] is None:
                self.flush()
        finally:
            self._bar.close()
            if self._writes:
                self._lines.close()
                self._tensorboard.close()

    def step(self, metrics: dict[str, jax.Array]) -> int:
        """Takes the metrics of the step just dispatched and returns the number of steps done.

        Raises:
          NonFiniteError: the step before was not finite.
        """
        self.flush()
        self._step += 1
        self._pending = (self._step, metrics)
        return self._step

    def validation(self, scalars: dict[str, float]) -> None:
        """Reports figures on held-out data."""
        self._speed.pause()
        if self._writes:
            for name, value in scalars.items():
                self._tensorboard.add_scalar(f"validation/{name}", value, self._step)
            text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            self._bar.write(f"step {self._step}: {text}")

    def flush(self) -> None:
        """Waits for the step dispatched last, and reports it.

        Raises:
          NonFiniteError: it was not finite.
        """
        if self._pending is None:
            return
        number, metrics = self._pending
        self._pending = None
        values = _scalars(jax.device_get(metrics), self._num_timesteps)
        if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
            batch = self._config.batch_size
            ids = range((number - 1) * batch, number * batch)
            raise NonFiniteError(number, values, ids)
        self._speed.step()
        logged = number % self._config.log_every == 0
        if logged:
            values |= self._speed.figures()
        if not self._writes:
            return
        self._lines.write(json.dumps({"step": number, **values}) + "\n")
        self._bar.update()
        if logged:
            self._lines.flush()
            self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            for name, value in values.items():
                self._tensorboard.add_scalar(f"train/{name}", value, number)


class Speed:
    """Rates since the last time they were asked for.

    Attributes:
      flops: of one step over all devices, once it is known.
      model_flops: the same without recomputation.
      peak_flops: FLOP/s of one device; 0 where unknown.
    """

    def __init__(self, *, batch_size: int, devices: int, peak_flops: float):
        self.flops = self.model_flops = 0.0
        self._batch_size, self._devices, self._peak = batch_size, devices, peak_flops
        self.pause()

    def pause(self) -> None:
        """Starts anew: what passed until now was no training."""
        self._start, self._steps, self._waited = time.perf_counter(), 0, 0.0

    def step(self) -> None:
        """Counts a step."""
        self._steps += 1

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; the time spent waiting for them is what `data_wait` reports."""
        batches = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.perf_counter() - start
            yield batch

    def figures(self) -> dict[str, float]:
        """Examples and TFLOP per second, and the share of time spent waiting for data."""
        passed = max(time.perf_counter() - self._start, 1e-9)
        rate = self._steps / passed
        figures = {
            "samples_per_second": rate * self._batch_size,
            "data_wait": min(self._waited / passed, 1.0),
            "tflops_per_device": rate * self.flops / self._devices / 1e12,
        }
        if self._peak:
            figures["mfu"] = rate * self.model_flops / self._devices / self._peak
        self.pause()
        return figures


def _scalars(metrics: dict[str, np.ndarray], num_timesteps: int) -> dict[str, float]:
    """Metrics as they are logged: the buckets' losses by name, without what is not known."""
    metrics = dict(metrics)
    losses = metrics.pop("bucket_losses", np.zeros(0))
    shares = metrics.pop("bucket_shares", np.zeros(0))
    scalars = {name: float(value) for name, value in metrics.items()}
    for name in ("param_norm", "update_norm"):
        if math.isnan(scalars.get(name, 0.0)):
            del scalars[name]
    for i in np.flatnonzero(shares):
        first, last = (j * num_timesteps // len(shares) for j in (i, i + 1))
        scalars[f"loss_t{first:03d}_{last - 1:03d}"] = float(losses[i] / shares[i])
    return scalars


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
