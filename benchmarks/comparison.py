"""Times one computation in two implementations by turns, each in a process of its own.

Machines slow down and recover by themselves, so that two runs of minutes compare little. Here the
two sides alternate call by call (A B A B ...): each neighbouring pair gives a ratio, and the median
of the ratios, with its quartiles, is the result. A process of its own makes peaks of memory honest.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SIDES = ("ours", "eager", "compile")


@dataclasses.dataclass(frozen=True)
class Task:
    """A computation ready to be timed.

    Attributes:
      run: computes, and returns when all is done.
      flops: of one call, where they are counted.
      warmed: every program that `run` needs is compiled and has been used; else `run` is called
        once before it is timed.
    """

    run: Callable[[], Any]
    flops: float | None = None
    warmed: bool = False


Make = Callable[..., Task]
"""(side, *arguments) -> the task; a module's own function, which processes find by name."""


class SideError(RuntimeError):
    """A side could not compute; the message is its own, in one line."""


# --- one side -----------------------------------------------------------------------------------


class Side:
    """A process that computes one side's task when told to; a context manager."""

    def __init__(self, make: Make, name: str, arguments: Sequence[Any]):
        """Starts the process and has it computed once, if only so it gets warm.

        Raises:
          SideError: the task cannot be made or run.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, name, *arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        try:
            self.first_call, self.flops = self._receive()
        except SideError:
            self._process.join()
            raise

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._process.join()

    def time(self) -> float:
        """Seconds of one call."""
        self._connection.send("time")
        return self._receive()

    def peak(self) -> int:
        """Most bytes held at once since the first call."""
        self._connection.send("peak")
        return self._receive()

    def host_peak(self) -> int:
        """Most bytes of main memory held at once; 0 where the system does not tell."""
        status = Path(f"/proc/{self._process.pid}/status")
        return _kibibytes(status, "VmHWM") if status.exists() else 0

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise SideError(f"the process ended with code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise SideError(" ".join(str(answer).split())[:200])
        return answer


def _serve(connection: Connection, make: Make, side: str, *arguments: Any) -> None:
    """What a side's process does: answers until the other end is closed."""
    # Both sides may share a GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if side == "ours":
        sys.meta_path[:] = map(_WithoutTorch, sys.meta_path)
    try:
        task = make(side, *arguments)
        first_call = None if task.warmed else _seconds(task.run)
        _forget_peak()
        connection.send((first_call, task.flops))
        while True:
            connection.send(_seconds(task.run) if connection.recv() == "time" else peak_memory())
    except EOFError:
        pass
    except Exception as error:
        connection.send(SideError(f"{type(error).__name__}: {error}"))


class _WithoutTorch:
    """An import finder to which PyTorch is not installed, as it need not be for us.

    Where it is, diffusers loads it beside its Flax models: 250 MiB that nothing here uses.
    """

    def __init__(self, finder: Any):
        self._finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] == "torch":
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _forget_peak() -> None:
    """Begins to measure anew: loading held parameters twice, compilers have needs of their own."""
    gc.collect()
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch and not jax and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes: of the accelerator where there is one, else of the process."""
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax and (stats := jax.devices()[0].memory_stats()) and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform.startswith("linux"):
        return _kibibytes(Path("/proc/self/status"), "VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- two sides ----------------------------------------------------------------------------------


def compare(
    make: Make, arguments: Sequence[Any], *, rounds: int, sides: Sequence[str] = SIDES[1:]
) -> dict[str, Any]:
    """Our side by turns with each of the others.

    Args:
      make: makes a side's task from its name and the arguments.
      arguments: of every side.
      rounds: timed calls of each side, after one that is not.
      sides: names of the others.

    Returns:
      `flops` of our side's call; by side its `seconds` (median), `first_call_s` (None where there
      was none) and `peak_mib`; by other side `speedup_over_torch_SIDE` and
      `speedup_over_torch_SIDE_quartiles`. A side that cannot compute has `error` instead, and None
      for speedups.
    """
    result: dict[str, Any] = {}
    for other in sides:
        key = f"speedup_over_torch_{other}"
        with Side(make, "ours", arguments) as a:
            try:
                _require_memory(a)
                with Side(make, other, arguments) as b:
                    ours, theirs = _alternate(a, b, rounds)
                    result[other] = _figures(b, theirs)
            except SideError as error:
                result[other] = {"error": str(error)}
                result |= {key: None, f"{key}_quartiles": None}
                continue
            ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
            result[key] = statistics.median(ratios)
            result[f"{key}_quartiles"] = quartiles(ratios)
            # The first pair's figures of our side stay: later ones only serve their ratio.
            result.setdefault("ours", _figures(a, ours))
            result["flops"] = a.flops
    return result


def _require_memory(side: Side) -> None:
    """Raises `SideError` where a second process as large as this one would not fit beside it."""
    free, needed = free_memory(), side.host_peak()
    if free < needed:
        raise SideError(
            f"{free / 2**30:.1f} GiB of memory are free, but aa_jax took {needed / 2**30:.1f} GiB; "
            "end other programs or take a smaller workload"
        )


def free_memory() -> float:
    """Bytes the machine has left; infinite where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return float("inf")
    return _kibibytes(Path("/proc/meminfo"), "MemAvailable")


def _kibibytes(path: Path, field: str) -> int:
    """A field of one of Linux's status files, in bytes."""
    return 1024 * int(path.read_text().partition(f"{field}:")[2].split()[0])


def _alternate(a: Side, b: Side, rounds: int) -> tuple[list[float], list[float]]:
    pairs = [(a.time(), b.time()) for _ in range(rounds)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _figures(side: Side, seconds: Sequence[float]) -> dict[str, float | None]:
    return {
        "seconds": statistics.median(seconds),
        "first_call_s": side.first_call,
        "peak_mib": side.peak() / 2**20,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile; of a single value, the value twice."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


# --- the matrix rate ----------------------------------------------------------------------------


def matrix_rate(dtype: str) -> float:
    """FLOP/s of large matrix products on the first device, the best of ten, measured apart."""
    with Side(_make_matrix_product, "ours", (dtype,)) as side:
        return side.flops / min(side.time() for _ in range(10))


def _make_matrix_product(side: str, dtype: str) -> Task:
    import jax
    import jax.numpy as jnp

    size = 8192 if jax.default_backend() != "cpu" else 2048
    x = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    return Task(lambda: product(x, x).block_until_ready(), 2.0 * size**3)
