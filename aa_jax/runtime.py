"""Process settings of the entry points."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
import sys
import threading
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def prepare() -> None:
    """Everything that makes programs start and run faster; to be called before the first one."""
    keep_freed_pages()
    use_compilation_cache()
    watch_memory_maps()


def keep_freed_pages() -> None:
    """Tells glibc's allocator to keep freed memory instead of returning it to the system.

    XLA allocates a CPU program's temporary buffer anew at every call; without this each call faults
    all its pages in again. Only the main thread's arena can hold so large a buffer, so that thread
    has to run the programs; all others keep arenas of their own, because finding memory between
    what a compiler leaves behind takes longer than the products it is for. No effect on other
    systems.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if hasattr(libc, "mallopt"):
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
        libc.mallopt(_M_TOP_PAD, 2**28)


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless jax is already told where."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache_folder() -> Path:
    """This project's folder among the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aa_jax"


# --- memory maps ----------------------------------------------------------------------------------
#
# A program compiled for a CPU holds 50 to 130 of the process's memory maps (jax 0.10.2, 0.12.0.1)
# until the last reference to it is gone. At the system's limit, 65,530 unless somebody changed it,
# the next program cannot be mapped: "LLVM compilation error: Cannot allocate memory".

NEAR, ROOM = 0.75, 0.5
"""Shares of the limit: where programs are dropped, and down to which."""

_MOST_PER_PROGRAM = 256


@functools.cache
def watch_memory_maps() -> None:
    """From now on a process that comes near the limit of memory maps drops its oldest programs.

    It says so. What is dropped and called again is compiled again, or read from the cache on disk.
    Without effect where the system has no such limit.
    """
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return
    import jax

    jax.monitoring.register_event_duration_secs_listener(MemoryMaps(limit))


def count_memory_maps() -> int:
    """How many memory maps this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0


def drop_programs(*, above: int = 0) -> None:
    """Drops every program that jax keeps for functions to be called again.

    For what is done with them: their memory maps are free again. Programs that somebody holds, as
    `jax.stages.Compiled`, stay.

    Args:
      above: keeps them where this process holds no more memory maps than so many.
    """
    import jax

    if above and count_memory_maps() <= above:
        return
    jax.clear_caches()
    gc.collect()


class MemoryMaps:
    """Listens to jax's events, and keeps this process below a limit of memory maps."""

    def __init__(self, limit: int):
        """Counts nothing yet.

        Args:
          limit: of memory maps.
        """
        self._limit = limit
        self._uncounted = 0  # programs that may be compiled before the next count
        self._compiled: dict[str, int] = {}  # when a function of this name last was: n-th event
        self._events = 0
        self._lock = threading.Lock()

    def __call__(self, event: str, duration: float, **details: object) -> None:
        """One event: of interest is a program that was compiled."""
        if not event.endswith("backend_compile_duration"):
            return
        if not self._lock.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._events += 1
            name = str(details.get("fun_name", ""))
            self._compiled[re.sub(r"^\w+\((.*)\)$", r"\1", name)] = self._events
            self._uncounted -= 1
            if self._uncounted <= 0:
                self._keep_away()
        finally:
            self._lock.release()

    def _keep_away(self) -> None:
        count, near = count_memory_maps(), int(NEAR * self._limit)
        if count >= near:
            print(
                f"warning: this process holds {count} of at most {self._limit} memory maps, most "
                "of them of compiled programs; the oldest programs are dropped, and compiled "
                "again when they are called again",
                file=sys.stderr,
            )
            count = self._drop_oldest(int(ROOM * self._limit))
        # Where it is not programs that hold them, counting after every one is of no use.
        self._uncounted = 32 if count >= near else max((near - count) // _MOST_PER_PROGRAM, 1)

    def _drop_oldest(self, wanted: int) -> int:
        """Drops programs until no more than so many maps are left; returns how many there are."""
        import jax

        kind = type(jax.jit(lambda: None))
        functions = [x for x in gc.get_objects() if type(x) is kind and x._cache_size()]
        functions.sort(key=lambda function: self._compiled.get(_name(function), 0))
        for i, function in enumerate(functions):
            function.clear_cache()
            if i % 4 == 3 and (count := count_memory_maps()) <= wanted:
                return count
        drop_programs()
        return count_memory_maps()


def _name(function: object) -> str:
    return str(getattr(function, "__name__", ""))
