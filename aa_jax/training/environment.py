"""What a run ran on, for its work directory."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from aa_jax import files

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def record(path: Path, *, first_step: int, mesh: dict[str, int]) -> None:
    """Adds this start of a run to a JSON list of starts."""
    starts = json.loads(path.read_text()) if path.exists() else []
    starts.append({"first_step": first_step, **describe(), "mesh": mesh})
    files.write_text(path, json.dumps(starts, indent=2) + "\n")


def describe() -> dict[str, Any]:
    """Versions, devices and the git revision of the sources, where there is one."""
    return {
        "command": sys.argv,
        "git": _git("rev-parse", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
