"""Many calls over processes, of which none can stop the others."""

from __future__ import annotations

import collections
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    on_crash: Callable[[Item], Result],
) -> Iterator[tuple[int, Result]]:
    """Calls a function with every item and gives (index, result) as they come.

    Processes are spawned, never forked: threads of decoders and of onnxruntime do not survive a
    fork. An item whose process dies (a decoder that crashes, memory that runs out) is tried once
    more alone, since the death of one process takes its neighbours' work with it.

    Args:
      function: importable, as are items and results picklable; raises nothing.
      workers: processes; 0 calls in this process.
      on_crash: the result of an item that kills its process.
    """
    if not workers:
        yield from ((index, function(item)) for index, item in enumerate(items))
        return
    waiting = collections.deque(range(len(items)))
    while waiting:
        suspects = yield from _until_crash(function, items, waiting, workers)
        for index in suspects:
            alone = collections.deque([index])
            if (yield from _until_crash(function, items, alone, 1)):
                yield index, on_crash(items[index])


def _until_crash(function, items, waiting, workers):
    """Takes indices from `waiting`; returns those whose calls were lost to a dying process."""
    running: dict[Future, int] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(waiting)), mp_context=context) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < workers:
                    running[pool.submit(function, items[waiting[0]])] = waiting[0]
                    waiting.popleft()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    yield running.pop(future), result
            except BrokenProcessPool:
                return sorted(running.values())
    return []
