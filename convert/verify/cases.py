"""Case folders: their files, what they promise, and which of our networks they ask for."""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import importlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aa_jax import runtime
from aa_jax.files import numbered
from convert import ConvertError
from convert.reading.sources import open_source
from convert.verify.ledger import Ledger

KINDS = {
    "unet_pair": "unets",
    "unet_stage1": "unets",
    "pose_guider": "pose_guider",
    "ddim": "diffusion",
    "context": "context",
    "pipeline": "pipeline",
    "skeleton": "skeleton",
}
"""Module of `convert.verify` by what a case's name begins with."""

MAPS_OF_PROGRAMS = 5_000
"""Memory maps at which programs are dropped between the runs of a case."""


class CaseError(ConvertError):
    """A case is not what it must be; the message names the file, array or field."""


def verify(folder: Path, ledger: Ledger) -> None:
    """Repeats everything in a case folder and notes how near our numbers are."""
    ledger.heading(f"{folder}")
    case = None
    with attempt(ledger, str(folder)):
        case = Case(folder, ledger)
        kind = next((kind for kind in KINDS if case.name.startswith(kind)), None)
        if kind is None:
            raise CaseError(f"meta.json: unknown kind of case {case.name!r}; {', '.join(KINDS)}")
        case.check_files()
        importlib.import_module(f"convert.verify.{KINDS[kind]}").verify(case)
    if case:
        case.check_everything_was_read()
    runtime.drop_programs()  # no other case calls them


@contextlib.contextmanager
def attempt(ledger: Ledger, name: str) -> Iterator[None]:
    """Notes a broken case or run instead of ending the whole command."""
    try:
        yield
    except ConvertError as error:
        ledger.fail(name, " ".join(str(error).split()))
    except Exception as error:
        # meta.json and the arrays steer the runs: whatever they spoil, and be it deep inside of a
        # network, is a shortfall of this case and must not hide the cases after it.
        detail = " ".join(str(error).split())[:200]
        ledger.fail(name, f"cannot be run as meta.json says: {type(error).__name__}: {detail}")


class Case:
    """A case folder; remembers which of its arrays were used.

    Attributes:
      folder: where it is.
      meta: contents of its `meta.json`.
      name: what the case calls itself.
      ledger: where comparisons go.
    """

    def __init__(self, folder: Path, ledger: Ledger):
        self.folder, self.ledger = folder, ledger
        self.meta = read_json(folder / "meta.json")
        self.name = self.field("case")
        self.unused: set[str] = set()
        self._arrays: dict[str, dict[str, np.ndarray]] = {}

    def field(self, *path: str) -> Any:
        """A field of `meta.json`."""
        value: Any = self.meta
        for i, name in enumerate(path):
            if not isinstance(value, dict) or name not in value:
                raise CaseError(f"{self.folder}/meta.json: field {'.'.join(path[: i + 1])} missing")
            value = value[name]
        return value

    def attempt(self, name: str) -> contextlib.AbstractContextManager[None]:
        """See `attempt`."""
        return attempt(self.ledger, name)

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[None]:
        """`attempt` for a whole run, whose programs are dropped where they have become many."""
        with self.attempt(name):
            yield
        runtime.drop_programs(above=MAPS_OF_PROGRAMS)

    # --- arrays -----------------------------------------------------------------------------------

    def check_files(self) -> None:
        """Compares what the `.npz` files hold with what `meta.json` says they do."""
        promised = self.meta.get("arrays", {})
        for path in numbered(self.folder, [".npz"]):
            if path.name not in promised:
                self.ledger.fail(path.name, "meta.json does not say what this file is")
        for file, entries in promised.items():
            with self.attempt(file):
                arrays = self.arrays(file)
                for name in sorted(entries.keys() | arrays.keys()):
                    self._check_array(f"{file}:{name}", entries.get(name), arrays.get(name))

    def _check_array(self, name: str, entry: Any, array: np.ndarray | None) -> None:
        if array is None:
            self.ledger.fail(name, "missing, though meta.json lists it")
            return
        self.unused.add(name)
        if entry is None:
            self.unused.discard(name)
            self.ledger.fail(name, "not listed in meta.json")
        elif list(array.shape) != entry["shape"] or array.dtype != np.dtype(entry["dtype"]):
            found = f"{array.dtype} {list(array.shape)}"
            self.ledger.fail(name, f"is {found}, not {entry['dtype']} {entry['shape']}")

    def check_everything_was_read(self) -> None:
        """Notes the arrays that no run used: what they are for is not known here."""
        for name in sorted(self.unused):
            self.ledger.fail(name, "no run explains this array")

    def arrays(self, file: str) -> dict[str, np.ndarray]:
        """All arrays of a file, read-only; reading them so does not count as use."""
        if file not in self._arrays:
            self._arrays[file] = self._read(file)
        return self._arrays[file]

    def _read(self, file: str) -> dict[str, np.ndarray]:
        path = self.folder / file
        try:
            with path.open("rb") as stream, np.load(stream) as arrays:
                found = dict(arrays)
        except FileNotFoundError:
            raise CaseError(f"{path}: no such file") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CaseError(f"{path}: truncated or no .npz file ({error})") from None
        for array in found.values():
            array.flags.writeable = False  # every run is given the same ones
        return found

    def read(self, file: str, name: str) -> np.ndarray:
        """An array, which from now on counts as used."""
        arrays = self.arrays(file)
        if name not in arrays:
            raise CaseError(f"{file}:{name} is missing")
        self.unused.discard(f"{file}:{name}")
        return arrays[name]

    def compare(self, file: str, name: str, found: Any, **tolerance: float) -> None:
        """Compares ours with an array of the case."""
        self.ledger.compare(f"{file}:{name}", found, self.read(file, name), **tolerance)

    # --- weights ----------------------------------------------------------------------------------

    def weights_path(self, name: str) -> Path:
        """File of some weights; other cases' files are named by a relative path."""
        entry = self.field("weights", name)
        # A path may be followed by a remark in brackets.
        file = entry["file"] if isinstance(entry, dict) else entry.split(" (")[0]
        return self.folder / file

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """A PyTorch state dict as float32 arrays, read by the converters' own reader.

        Raises:
          ConvertError: it cannot be read, or is not the file `meta.json` describes.
        """
        path, entry = self.weights_path(name), self.field("weights", name)
        if path.suffix != ".bz2":
            tensors = {key: tensor.read() for key, tensor in open_source(path).items()}
        else:
            tensors = self._unpacked(path, entry)
        return {key: np.asarray(x).astype(np.float32) for key, x in tensors.items()}

    def _unpacked(self, path: Path, entry: Any) -> dict[str, np.ndarray]:
        try:
            content = bz2.decompress(path.read_bytes())
        except FileNotFoundError:
            raise CaseError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise CaseError(f"{path}: truncated or not packed by bzip2 ({error})") from None
        expected = entry.get("sha256_unpacked") if isinstance(entry, dict) else None
        if expected and hashlib.sha256(content).hexdigest() != expected:
            self.ledger.fail(path.name, "other content than meta.json's sha256_unpacked")
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / path.stem
            unpacked.write_bytes(content)
            return {key: np.array(tensor.read()) for key, tensor in open_source(unpacked).items()}


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise CaseError(f"{path}: no such file; a case folder holds meta.json") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CaseError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise CaseError(f"{path}: holds no JSON object")
    return values
