"""Stopping in good order when the machine is taken away."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax


@contextlib.contextmanager
def watching(reached_by_all: Callable[[int], bool]) -> Iterator[Callable[[int], bool]]:
    """Gives a function that says whether to stop after a step.

    A process alone stops after the step during which it gets SIGTERM. Processes of one run must
    stop at the same step, which JAX's coordination service arranges when any of them gets SIGTERM.

    Args:
      reached_by_all: says so for several processes, as `Checkpoints.reached_preemption` does.
    """
    if jax.process_count() > 1:
        yield reached_by_all
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False  # only the main thread may handle signals
        return
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield lambda step: told.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
