"""MediaPipe's four networks as files: out of the wheel that holds them, into the user's cache.

    folder = find_models()              # fetched if this machine has none
    folder = find_models("models/")     # a folder or the wheel itself; no network needed

The wheel is read as a zip file and never installed: its code is not run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from aa_jax import files, runtime
from aa_jax.pose.detectors import DetectionError

PACKAGE = "mediapipe==0.10.21"
WHEEL = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
WHEEL_MEGABYTES = 36
LICENCE = "Apache-2.0"
_MEGABYTES = 15  # of the four files

MODELS = {
    "pose_detection.tflite": (
        "mediapipe/modules/pose_detection/",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark_full.tflite": (
        "mediapipe/modules/pose_landmark/",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "hand_recrop.tflite": (
        "mediapipe/modules/holistic_landmark/",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    "hand_landmark_full.tflite": (
        "mediapipe/modules/hand_landmark/",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
}
"""Name of every file, its folder in the wheel, and SHA-256."""

DOWNLOAD = (
    *("pip", "download", "--no-deps", "--only-binary=:all:"),
    *("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"),
    *("--implementation", "cp", PACKAGE),
)
"""The command that fetches the wheel; it works on every system, because a wheel is a zip file."""

_OFFLINE = (
    f"on a machine with a network run `{' '.join(DOWNLOAD)}`, bring the file here and name it by "
    "--pose-models FILE"
)


def find_models(
    source: str | Path | None = None, *, report: Callable[[str], None] | None = None
) -> Path:
    """The folder with the four files, whose hashes are right.

    Args:
      source: a folder of them, the wheel, or a folder of the wheel; None: the user's cache, into
        which they are fetched if need be.
      report: takes the line that says what is fetched; by default it is printed to stderr.

    Raises:
      DetectionError: they are not there, are other files, or cannot be fetched; in one line.
    """
    cache = cache_folder()
    if source is None:
        if not is_complete(cache):
            fetch(cache, report=report)
        return cache
    path = Path(source)
    if path.is_dir() and (path / WHEEL).is_file() and not is_complete(path):
        path = path / WHEEL
    if path.is_dir():
        for name, (_, expected) in MODELS.items():
            _check(path / name, expected)
        return path
    if not path.exists():
        raise DetectionError(f"--pose-models {path}: no such folder or wheel; {_OFFLINE}")
    if not is_complete(cache):
        unpack(path, cache)
    else:
        _check(path, WHEEL_SHA256)
    return cache


def cache_folder() -> Path:
    """Where the files are kept."""
    return runtime.cache_folder() / "pose-models" / PACKAGE.replace("==", "-")


def is_complete(folder: Path) -> bool:
    """Whether a folder holds all four, unharmed."""
    return all(
        (folder / name).is_file() and files.sha256(folder / name) == expected
        for name, (_, expected) in MODELS.items()
    )


def fetch(folder: Path, *, report: Callable[[str], None] | None = None) -> None:
    """Fetches the wheel by pip, and puts the four files of it into a folder.

    Raises:
      DetectionError: there is no pip, no network or no room, or the wheel is another one.
    """
    say = report or (lambda line: print(line, file=sys.stderr))
    say(
        f"fetching {PACKAGE} from the package index ({WHEEL_MEGABYTES} MB, {LICENCE}) for its pose "
        f"networks, once, into {folder}; nothing of it is installed"
    )
    try:
        with _errors_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel.") as scratch:
                _download(Path(scratch))
                unpack(Path(scratch) / WHEEL, folder)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing came into it


def unpack(wheel: Path, folder: Path) -> None:
    """Puts the four files of the wheel into a folder, each whole or not at all.

    Raises:
      DetectionError: it is another wheel, or there is no room.
    """
    _check(wheel, WHEEL_SHA256)
    with _errors_named(folder), zipfile.ZipFile(wheel) as opened:
        for name, (inside, _) in MODELS.items():
            with files.replacing_file(folder / name) as temporary:
                temporary.write_bytes(opened.read(inside + name))
    for name, (_, expected) in MODELS.items():
        _check(folder / name, expected)


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", *DOWNLOAD, "--no-cache-dir", "--quiet", "--dest", str(folder)]
    patience = ["--retries", "1", "--timeout", "20", "--disable-pip-version-check"]
    environment = {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*command, *patience], capture_output=True, text=True, errors="replace", env=environment
    )
    if done.returncode == 0 and (folder / WHEEL).is_file():
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    reason = errors[0].removeprefix("ERROR:").strip() if errors else "pip says nothing"
    if "No space left" in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise DetectionError(f"{PACKAGE} cannot be fetched ({reason}); {_OFFLINE}")


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        wanted = ", ".join(MODELS)
        raise DetectionError(f"{path}: no such file; BlazePose's are {wanted}, all in {WHEEL}")
    found = files.sha256(path)
    if found != expected:
        raise DetectionError(
            f"{path}: is another file than that of {PACKAGE} (SHA-256 {found[:12]}..., expected "
            f"{expected[:12]}...); {_OFFLINE if path.suffix == '.whl' else 'take it from ' + WHEEL}"
        )


@contextlib.contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    """Errors of the file system, with the folder and what to do."""
    try:
        yield
    except OSError as error:
        raise DetectionError(
            f"{folder}: the pose networks cannot be kept there ({error.strerror or error}); they "
            f"need {_MEGABYTES} MB, and {WHEEL_MEGABYTES} MB more while they are fetched: make "
            "room, or let XDG_CACHE_HOME name another folder"
        ) from None
