"""MediaPipe's `.tflite` networks on LiteRT's interpreter (ai-edge-litert, extra `pose`).

On a CPU a batch takes as long as its pictures one by one, so pictures are spread over interpreters
that each run on one thread; a single picture is spread over all threads instead, or over half of
them beside other work. The answers are the same numbers on any count of threads.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aa_jax.pose.detectors import DetectionError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

_MOST_THREADS = 8  # from which on these small networks gain nothing
_OPENING = threading.Lock()  # file descriptor 2 is all threads'


class Networks:
    """Networks that share the threads of one pool."""

    def __init__(self, threads: int = 0) -> None:
        """Args:
        threads: CPU threads; 0: as many as this process may use.
        """
        self.threads = threads or min(_MOST_THREADS, len(_cores()))
        self._here = threading.local()
        self._pool = ThreadPoolExecutor(self.threads, initializer=self._enter)
        self._begun: list[Future] = []

    def open(self, path: Path, outputs: Sequence[int]) -> Network:
        """A network of a file.

        Args:
          outputs: which of the file's it gives; what leads to others only is not computed.

        Raises:
          DetectionError: ai-edge-litert is missing, or cannot read the file.
        """
        return Network(functools.partial(_open_lane, path, _reduced(path, outputs)), self)

    def spread(self, call: Callable, *arguments: Sequence) -> list:
        """`map`, on all threads."""
        if self.threads == 1 or len(arguments[0]) < 2 or self._is_inside():
            return list(map(call, *arguments))
        return list(self._pool.map(call, *arguments))

    def begin(self, call: Callable, *arguments: object) -> Future:
        """`call`, on one thread, while the caller goes on; with one thread, before it does."""
        if self.threads == 1:
            done: Future = Future()
            done.set_result(call(*arguments))
            return done
        begun = self._pool.submit(call, *arguments)
        self._begun = [*self._unfinished(), begun]
        return begun

    def share(self) -> int:
        """How many threads one picture may be spread over, now and in this thread."""
        if self._is_inside():
            return 1
        return max(1, self.threads // 2) if self._unfinished() else self.threads

    def _unfinished(self) -> list[Future]:
        return [each for each in self._begun if not each.done()]

    def _enter(self) -> None:
        self._here.inside = True

    def _is_inside(self) -> bool:
        """Whether this is a thread of the pool."""
        return getattr(self._here, "inside", False)


class _Lane:
    """One interpreter."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        # Asking for these takes as long as a small layer.
        (self._input,) = (detail["index"] for detail in interpreter.get_input_details())
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """The outputs, each [1, ...], for a picture [side, side, 3]."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class Network:
    """One network: as many interpreters as pictures go through it at once."""

    def __init__(self, make: Callable[[int], _Lane], networks: Networks) -> None:
        """Args:
        make: an interpreter of some threads.
        """
        self._make, self._networks = make, networks
        self._free: dict[int, list[_Lane]] = {networks.threads: [make(networks.threads)]}

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        """The outputs, each [n, ...], for pictures [n, side, side, 3] float32."""
        answers = self._networks.spread(self._answer, pictures)
        return [np.concatenate(output) for output in zip(*answers, strict=True)]

    def _answer(self, picture: np.ndarray) -> list[np.ndarray]:
        threads = self._networks.share()
        free = self._free.setdefault(threads, [])
        try:
            lane = free.pop()
        except IndexError:
            lane = self._make(threads)
        answer = lane(picture)
        free.append(lane)
        return answer


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def litert() -> tuple[Any, Any]:
    """LiteRT's modules of interpreters and of the format of files.

    Raises:
      DetectionError: ai-edge-litert is missing.
    """
    try:
        from ai_edge_litert import interpreter, schema_py_generated
    except ImportError:
        raise DetectionError(
            "ai-edge-litert is missing; BlazePose needs it: pip install 'aa_jax[pose]'"
        ) from None
    return interpreter, schema_py_generated


def _open_lane(path: Path, content: bytes, threads: int) -> _Lane:
    module, _ = litert()
    try:
        with _OPENING, _without_native_notes():
            made = module.Interpreter(model_content=content, num_threads=threads)
            made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DetectionError(f"{path}: no network LiteRT can run ({reason})") from None
    return _Lane(made)


@contextlib.contextmanager
def _without_native_notes() -> Iterator[None]:
    """LiteRT tells file descriptor 2 which delegate it made, and has no setting for it."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no such descriptor
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reduced(path: Path, outputs: Sequence[int]) -> bytes:
    """A `.tflite` file with some of its outputs, and the operators that lead to them.

    The mask of the person, which nothing here needs, is 40 % of the landmark network's work.
    """
    import flatbuffers

    _, schema = litert()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (graph,) = model.subgraphs
    graph.outputs = [graph.outputs[index] for index in outputs]
    needed = set(map(int, graph.outputs))
    kept = []
    for operator in reversed(graph.operators):
        if needed & set(map(int, operator.outputs)):
            kept.append(operator)
            needed |= set(map(int, operator.inputs))
    graph.operators = kept[::-1]
    model.signatureDefs = []  # they name all outputs
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
