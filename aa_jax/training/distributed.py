"""Runs of several processes, on JAX's own runtime."""

from __future__ import annotations

import socket
import time

import jax

from aa_jax.config import ConfigError


class DistributedError(ValueError):
    """The processes of a run cannot find each other."""


def say(text: str) -> None:
    """Prints once for all processes of a run."""
    if jax.process_index() == 0:
        print(text)


def initialize(
    *, coordinator: str = "", num_processes: int = 0, process_id: int = -1, timeout: int = 300
) -> None:
    """Joins the processes of a run; to be called before anything else touches a device.

    Args:
      coordinator: `host:port` of process 0; empty: Slurm, Kubernetes, Open MPI and TPU pods say
        where it is, how many processes there are, and which one this is.
      num_processes: with `coordinator`: how many processes there are.
      process_id: with `coordinator`: which one this is, from 0.
      timeout: seconds to wait for the others.

    Raises:
      ConfigError: the arguments do not go together.
      DistributedError: the coordinator cannot be reached, or the surroundings name none.
    """
    explicit = {}
    if coordinator:
        if not (num_processes >= 1 and 0 <= process_id < num_processes):
            raise ConfigError(
                "--coordinator: needs --num_processes=N and --process_id from 0 to N-1, got "
                f"{num_processes} and {process_id}"
            )
        explicit = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
        if process_id > 0:
            _wait_for(coordinator, timeout)
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise DistributedError(
            f"--distributed: the processes did not meet at {coordinator or 'a coordinator'} "
            f"within {timeout} s ({str(error).splitlines()[0]})"
        ) from None


def _wait_for(coordinator: str, timeout: float) -> None:
    """Waits until something answers there: JAX would end the whole process where nothing does."""
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdigit()):
        raise ConfigError(f"--coordinator: looks like host:port, got {coordinator!r}")
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise DistributedError(
                    f"--coordinator: the processes did not meet at {coordinator} within {timeout} "
                    f"s ({error})"
                ) from None
            time.sleep(0.5)
