"""A whole preparation: find, do every video, write the dataset in one last stage, report."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from tqdm import tqdm

from aa_jax import files
from aa_jax.data.preparation import layouts, media, pool, report, work
from aa_jax.data.preparation.layouts import PrepareError
from aa_jax.data.preparation.work import Outcome, Task

DATASET = "dataset"
"""Folder of the finished dataset below the output; it is whole or not there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """What to prepare; `aa_jax.data.preparation.cli` documents the fields as flags."""

    videos: Path
    output: Path
    layout: str
    task: Task
    workers: int
    held_out: float = 0.0
    test_names: Collection[str] = ()
    drop_clips: bool = False
    beam: str = ""


def prepare(what: Preparation) -> list[Outcome]:
    """Prepares a folder of videos as `output/dataset`, with `output/report.html`.

    Returns:
      What became of every video, in the order of split and name.

    Raises:
      PrepareError: there is nothing to prepare, or the output holds something else.
    """
    dataset = what.output / DATASET
    _check_name(what.output)
    if what.output.resolve() == what.videos.resolve():
        raise PrepareError(
            f"--output {what.output}: is the folder of videos, in which nothing is changed; choose "
            "another"
        )
    if dataset.exists() and not (dataset / "dataset.json").exists():
        raise PrepareError(f"--output {what.output}: {dataset} is no dataset of prepare.py")
    exclude = [what.output] + ([what.task.keypoints] if what.task.keypoints else [])
    finding = layouts.find_sources(
        what.layout,
        what.videos,
        held_out=what.held_out,
        test_names=what.test_names,
        exclude=exclude,
    )
    try:
        files.check_writable(what.output / "report.html")
    except OSError as error:
        raise PrepareError(
            f"--output {what.output}: cannot be written ({error.strerror})"
        ) from None
    _remove_leftovers(what.output)
    if what.beam:
        from aa_jax.data.preparation import cluster

        cluster.fill_cache(finding.sources, what.task, what.beam)
    outcomes = _do_all(finding.sources, what)
    kept = [outcome for outcome in outcomes if outcome.status == "kept"]
    report.write(what.output, outcomes, finding.others)
    if not kept:
        raise PrepareError(
            f"--videos {what.videos}: no video can be used; {what.output}/report.html says why"
        )
    _write_dataset(dataset, what, kept)
    if what.drop_clips:
        for outcome in kept:
            media.drop_frames(outcome.clip)
    return outcomes


def _check_name(output: Path) -> None:
    """ArrayRecord's library takes names in UTF-8 only; to be said before the work."""
    try:
        str(output).encode()
    except UnicodeEncodeError:
        name = files.readable(output)
        raise PrepareError(f"--output {name}: is no UTF-8; datasets need a name that is") from None


def _do_all(sources: Sequence[layouts.Source], what: Preparation) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    done = pool.run_all(
        functools.partial(work.prepare_video, task=what.task),
        sources,
        workers=what.workers,
        on_crash=lambda source: Outcome(source, "broken", cause="crashes the decoder"),
    )
    with tqdm(total=len(sources), desc="preparing", unit="video") as progress:
        for index, outcome in done:
            outcomes[index] = outcome
            if outcome.status != "kept":
                path = files.readable(outcome.source.path)
                progress.write(f"{path}: {outcome.status}, {outcome.reason}")
            progress.update()
    return [outcomes[index] for index in range(len(sources))]


def _write_dataset(dataset: Path, what: Preparation, kept: Sequence[Outcome]) -> None:
    """Writes all of it under a temporary name; a second run that would write the same does not."""
    description = {
        "layout": what.layout,
        "storage": what.task.media.storage,
        "fingerprint": _fingerprint(kept),
        "splits": {
            split: sum(outcome.source.split == split for outcome in kept)
            for split in sorted({outcome.source.split for outcome in kept})
        },
    }
    described = dataset / "dataset.json"
    if described.exists() and json.loads(described.read_text()) == description:
        return
    from aa_jax.data.preparation import builders

    _store_again([outcome for outcome in kept if not media.holds_frames(outcome.clip)], what)
    clips = [
        builders.StoredClip(outcome.source.split, outcome.source.label, outcome.clip)
        for outcome in kept
    ]
    with files.replacing(dataset) as folder:
        builders.write_dataset(folder, what.layout, clips, what.task.media.storage)
        files.write_text(folder / "dataset.json", json.dumps(description, indent=2) + "\n")


def _store_again(dropped: Sequence[Outcome], what: Preparation) -> None:
    """Stores clips once more whose frames an earlier run has dropped."""
    for outcome in dropped:
        shutil.rmtree(outcome.clip)
    if dropped:
        _do_all([outcome.source for outcome in dropped], what)


def _fingerprint(kept: Sequence[Outcome]) -> str:
    """Names the content of a dataset: clips by name and split, each with what is stored of it."""
    rows = [
        [o.source.split, o.source.name, o.clip.parent.name, o.clip.name] for o in kept if o.clip
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _remove_leftovers(output: Path) -> None:
    """Half-written folders of runs that were killed."""
    for pattern in (f".{DATASET}.*", ".report.*", "cache/*/.clip-*"):
        for folder in output.glob(pattern):
            shutil.rmtree(folder)
