"""Compiles C++ for the processor at hand on first use, as torch.compile does."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from aa_jax import files, runtime

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared")


class BuildError(Exception):
    """No library, and why, in words that follow the name of what needs it."""


def build(name: str, sources: Sequence[Path]) -> Path:
    """The library made of C++ files, in the user's cache folder; compiled if it is not there.

    The compiler is that of the environment variable CXX, else `c++`.

    Raises:
      BuildError: there is no compiler, or it cannot compile this.
    """
    import jax.ffi
    import jaxlib

    compiler = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(compiler[0]) is None:
        raise BuildError(f"needs a C++ compiler, and there is no {compiler[0]} (set CXX)")
    headers = sorted(path for folder in {x.parent for x in sources} for path in folder.glob("*.h"))
    code = [path.read_text() for path in (*sources, *headers)]
    about = *FLAGS, _output([*compiler, "--version"]), jaxlib.__version__, _processor()
    key = hashlib.sha256("\n".join((*code, *about)).encode()).hexdigest()[:16]
    library = runtime.cache_folder() / "native" / f"{name}-{key}.so"
    if not library.exists():
        with files.replacing_file(library) as path:
            of_xla = ("-isystem", jax.ffi.include_dir())
            _output([*compiler, *FLAGS, *of_xla, *map(str, sources), "-o", str(path)])
    return library


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()
        error = next((line for line in said if "error" in line), said[0])
        raise BuildError(f"cannot be compiled: {shlex.join(command[:1])} says: {error}")
    return done.stdout


def _processor() -> str:
    """What decides which instructions it may have; machines may share a cache folder."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join((platform.system(), platform.machine(), platform.processor(), flags))
