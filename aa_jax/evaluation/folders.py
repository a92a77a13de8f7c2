"""Anybody's videos against the true ones, by a protocol: `evaluate.py --results --targets`."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from aa_jax.data import dataset as datasets
from aa_jax.evaluation.clips import Frame, Pair, match
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.evaluation.networks import Networks
from aa_jax.evaluation.scoring import Scores
from aa_jax.evaluation.true_clips import is_dataset, of_dataset
from aa_jax.experiments.results import Result
from aa_jax.metrics import frames as by_protocol
from aa_jax.metrics import protocols
from aa_jax.metrics.errors import MetricError
from aa_jax.metrics.protocols import Protocol

MARK = "evaluation.json"
"""What an evaluation leaves beside the clips it made: how, and for which protocol."""

FRAMES_AT_ONCE = 16
"""Decoded at their own size, before the protocol makes them smaller."""

Report = Callable[[str], None]


def score(
    results: Path, targets: Path, protocol: Protocol, *, name: str = "", report: Report = print
) -> tuple[Result, tuple[Pair, ...]]:
    """Scores a folder of clips.

    Args:
      results: the generated clips.
      targets: the true ones, or a dataset of `prepare.py`, whose split `test` is taken.
      protocol: how to measure.
      name: of the system; by default the folder's.
      report: called with a line for whatever does not match or cannot be computed.

    Returns:
      The figures, and the clips compared.

    Raises:
      EvaluationError: nothing can be compared, or a clip of one folder does not fit the other's.
      VideoError, PictureError: a clip cannot be read.
    """
    check_mark(results, protocol)
    true = dataset = None
    if is_dataset(targets):
        true = {clip.name: clip for clip in of_dataset(targets)}
        dataset = datasets.describe(targets)["layout"]
    found = match(results, targets, true)
    for flag, folder, names in (
        ("--results", results, found.results),
        ("--targets", targets, found.targets),
    ):
        if names:
            report(f"note: only in {flag} {folder}, and left out: {', '.join(names)}")
    check(found.pairs, protocol, report)
    networks = Networks.load(report=report)
    scored = score_pairs(
        found.pairs,
        protocol,
        networks,
        name=name or results.resolve().name,
        report=report,
        unmatched={"results": found.results, "targets": found.targets},
        folders={"results": str(results), "targets": str(targets)},
        dataset=dataset or "",
    )
    return scored, found.pairs


def score_pairs(
    pairs: Sequence[Pair],
    protocol: Protocol,
    networks: Networks,
    *,
    name: str,
    report: Report,
    **about: Any,
) -> Result:
    """Scores pairs of clips, one after the other.

    Args:
      name: of the system.
      report: called with a line for each metric that could not be computed.
      about: further fields of `Result`.

    Raises:
      EvaluationError: a clip cannot be measured.
    """
    scores = Scores(protocol, networks)
    for pair in tqdm(pairs, desc="scoring", unit="clip"):
        try:
            scores.add(pair.name, *prepare(pair, protocol))
        except MetricError as error:
            raise EvaluationError(f"clip {pair.name}: {error}") from None
    return scores.result(name, report=report, **about)


def prepare(
    pair: Pair, protocol: Protocol
) -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w 3"]]:
    """The target's and the result's frames that count, at the protocol's size.

    Few frames of the videos' own size are in memory at a time.

    Raises:
      MetricError: the sizes differ, and the protocol refuses that.
    """
    end = None if protocol.frames is None else protocol.first + protocol.frames
    each = dataclasses.replace(protocol, first=0, frames=None)
    true, ours = [], []
    streams = (
        _chunks(itertools.islice(clip.frames(), protocol.first, end))
        for clip in (pair.target, pair.result)
    )
    for target, result in zip(*streams, strict=True):
        true.append(by_protocol.prepared(each, target))
        ours.append(by_protocol.prepared(each, result, like=true[-1]))
    return np.concatenate(true), np.concatenate(ours)


def check(pairs: Sequence[Pair], protocol: Protocol, report: Report) -> None:
    """Finds out before the work whether all clips can be compared.

    Raises:
      EvaluationError: numbers of frames or sizes differ, or there are too few frames.
    """
    least = protocol.first + (protocol.frames or 1)
    wrong, cropped = [], []
    for pair in tqdm(pairs, desc="looking at clips", unit="clip", leave=False):
        (ours, our_size), (true, true_size) = pair.result.measure(), pair.target.measure()
        if protocol.frames is None and ours != true:
            wrong.append(f"{pair.name} has {ours} frames in the results and {true} in the targets")
        elif min(ours, true) < least:
            where = "results" if ours < least else "targets"
            wrong.append(
                f"{pair.name} has {min(ours, true)} frames in the {where}, and protocol "
                f"{protocol.name} takes frames {protocol.first} to {least - 1}"
            )
        if our_size != true_size:
            sizes = "{}x{} in the results and {}x{} in the targets".format(*our_size, *true_size)
            if protocol.size is None and protocol.unequal == "refuse":
                wrong.append(
                    f"{pair.name} is {sizes}, and protocol {protocol.name} changes no size"
                )
            elif abs(our_size[0] * true_size[1] / (our_size[1] * true_size[0]) - 1) > 0.02:
                cropped.append(f"{pair.name} ({sizes})")
    if wrong:
        more = f"; {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
        raise EvaluationError(f"clip {wrong[0]}{more}")
    if cropped:
        more = f" and {len(cropped) - 1} more" if len(cropped) > 1 else ""
        done = "cropped to centre squares" if protocol.crop == "centre_square" else "stretched"
        report(f"note: clips of unequal shape are {done}: {cropped[0]}{more}")


def check_mark(folder: Path, protocol: Protocol) -> None:
    """Refuses a folder that an evaluation filled for another protocol.

    Raises:
      EvaluationError: it did.
    """
    mark = read_mark(folder)
    if mark and mark.get("protocol") != protocol.name:
        raise EvaluationError(
            f"{folder / MARK}: these results were made for protocol {mark.get('protocol')}, not "
            f"{protocol.name}; give --protocol {mark.get('protocol')} or other results"
        )


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What an evaluation wrote of the results in a folder; None where there is nothing.

    Raises:
      EvaluationError: the file is damaged.
    """
    path = folder / MARK
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}); remove it") from None
    if not isinstance(found, dict):
        raise EvaluationError(f"{path}: holds no notes of an evaluation; remove it")
    return found


def find_protocol(name: str, flag: str = "--protocol") -> Protocol:
    """A protocol by name.

    Raises:
      EvaluationError: there is none; the message lists those there are.
    """
    try:
        return protocols.find(name)
    except MetricError as error:
        raise EvaluationError(f"{flag}: {error}") from None


def _chunks(frames: Iterable[Frame]) -> Iterator[UInt8[np.ndarray, "some h w 3"]]:
    frames = iter(frames)
    while some := list(itertools.islice(frames, FRAMES_AT_ONCE)):
        yield np.stack(some)
