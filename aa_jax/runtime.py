"""Process settings of the entry points."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def prepare() -> None:
    """Everything that makes programs start and run faster; to be called before the first one."""
    keep_freed_pages()
    use_compilation_cache()


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
