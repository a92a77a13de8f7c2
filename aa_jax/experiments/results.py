"""The figures of one system by one protocol, as `evaluate.py --json` writes and `--report` reads.

A file holds one result, or several under `results`, which is how the puppets' four answers stand.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Self

FORMAT = 1
"""Of the file; a reader refuses later ones."""


class ResultError(ValueError):
    """A file of results cannot be used; the message names it, the field and the fix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured.

    Attributes:
      name: of the system; a row's head.
      protocol: name of `aa_jax.metrics.protocols`, or `puppets`.
      dataset: `ubc_fashion`, `tiktok`, `ted_talks`, `puppets`, or empty where nobody has said.
      clips: how many were compared.
      frames: how many over all clips.
      metrics: figures by name; None where one could not be computed.
      intervals: 95 % over clips, low and high, by name; None where there is none.
      per_clip: a clip's `name`, its number of `frames`, and figures of it alone.
      missing: why a figure is None, by name.
      unmatched: names of clips in `results` or `targets` alone.
      folders: where `results` and `targets` lay.
      settings: the protocol's, and of the system whatever it followed from.
      versions: of the libraries that computed.
      weights: hashes of the metrics' networks and of the model, by name.
    """

    name: str
    protocol: str
    dataset: str = ""
    clips: int
    frames: int
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None] = dataclasses.field(default_factory=dict)
    per_clip: tuple[dict[str, Any], ...] = ()
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    unmatched: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    folders: dict[str, str] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def setting(self) -> tuple[str, int, int]:
        """Protocol, clips and frames: results that differ in these are not compared."""
        return self.protocol, self.clips, self.frames

    def renamed(self, name: str) -> Self:
        """The same under another name."""
        return dataclasses.replace(self, name=name)


def as_json(result: Result) -> dict[str, Any]:
    """A result as JSON's types.

    Raises:
      ResultError: a figure is no number.
    """
    return json.loads(dumps({"format": FORMAT, **dataclasses.asdict(result)}))


def dumps(value: Any) -> str:
    """JSON text that any reader takes: NaN and infinity are refused.

    Raises:
      ResultError: a figure is no number.
    """
    try:
        return json.dumps(value, indent=2, allow_nan=False) + "\n"
    except ValueError:
        raise ResultError("a figure is NaN or infinite; the results are broken") from None


def read(path: Path) -> tuple[Result, ...]:
    """The results of a file.

    Raises:
      ResultError: it is missing, no file of `evaluate.py --json`, or holds NaN.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file of results") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: cannot be read as JSON ({error})") from None
    records = found.get("results", [found]) if isinstance(found, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ResultError(f"{path}: holds no results; make them by evaluate.py --json {path}")
    results = tuple(_result(path, record) for record in records)
    if not results:
        raise ResultError(f"{path}: holds no results")
    return results


def read_all(paths: list[Path]) -> list[Result]:
    """The results of several files; where there are several, names begin with the file's."""
    found = []
    stems = [path.stem for path in paths]
    for path in paths:
        label = path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem}"
        for result in read(path):
            several = len(paths) > 1 and result.name != label
            found.append(result.renamed(f"{label}: {result.name}") if several else result)
    return found


def _result(path: Path, record: dict[str, Any]) -> Result:
    record = dict(record)
    number = record.pop("format", None)
    if number is None:
        raise ResultError(f"{path}: holds no results; make them by evaluate.py --json {path}")
    if number != FORMAT:
        raise ResultError(f"{path}: format {number} is later than {FORMAT}; update aa_jax")
    for field, kind in _KINDS.items():
        if not isinstance(record.get(field), kind):
            raise ResultError(f"{path}: {field} is {record.get(field)!r}, which no result has")
    unknown = record.keys() - {field.name for field in dataclasses.fields(Result)}
    if unknown:
        raise ResultError(f"{path}: unknown field {sorted(unknown)[0]}; update aa_jax")
    _check_numbers(path, "metrics", record["metrics"])
    intervals = record.get("intervals") or {}
    for name, ends in intervals.items():
        if ends is not None:
            _check_numbers(path, f"intervals.{name}", dict(zip(("low", "high"), ends, strict=True)))
    for clip in record.get("per_clip") or ():
        figures = {k: x for k, x in clip.items() if k != "name"}
        _check_numbers(path, f"per_clip {clip.get('name', '')}", figures)
    record["intervals"] = {name: ends and tuple(ends) for name, ends in intervals.items()}
    record["per_clip"] = tuple(record.get("per_clip") or ())
    record["unmatched"] = {k: tuple(v) for k, v in (record.get("unmatched") or {}).items()}
    return Result(**record)


_KINDS = {"name": str, "protocol": str, "clips": int, "frames": int, "metrics": dict}


def _check_numbers(path: Path, where: str, figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ResultError(f"{path}: {where}.{name} is {value!r}, no number")
        if not math.isfinite(value):
            raise ResultError(f"{path}: {where}.{name} is {value}; evaluate that system again")
