"""The clips of a dataset's test split, by the names of their videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from aa_jax.data import dataset as datasets
from aa_jax.data.geometry import Size
from aa_jax.data.preparation.layouts import VIDEO_SUFFIXES
from aa_jax.evaluation.clips import Frame

FRAMES_AT_ONCE = 16
"""Of a clip, that are decoded together."""


@dataclasses.dataclass(frozen=True)
class TrueClip:
    """A clip of the test split.

    Attributes:
      name: of its video, without a suffix where no other is called so.
      clip: of the dataset.
      length: frames that count, from the first.
      size: width and height, to which frames are cropped.
    """

    name: str
    clip: datasets.Clip
    length: int
    size: Size

    def frames(self) -> Iterator[Frame]:
        """True frames, a few decoded at a time."""
        for start in range(0, self.length, FRAMES_AT_ONCE):
            stop = min(start + FRAMES_AT_ONCE, self.length)
            yield from self.clip.pictures(range(start, stop), self.size)

    def measure(self) -> tuple[int, Size]:
        """Number of frames, and their width and height."""
        return self.length, self.size


def is_dataset(folder: Path) -> bool:
    """Whether `prepare.py` made a dataset there."""
    return (folder / "dataset" / "dataset.json").exists()


def of_dataset(folder: str | Path) -> list[TrueClip]:
    """The whole clips of the split `test`, at their own size.

    Raises:
      DatasetError: there is no such dataset or split.
    """
    split = datasets.open_dataset(folder, "test")
    clips = [split.clip(index) for index in range(len(split))]
    stems = [_stem(clip.name) for clip in clips]
    return [
        TrueClip(clip.name if stems.count(stem) > 1 else stem, clip, clip.length, clip.size)
        for clip, stem in zip(clips, stems, strict=True)
    ]


def _stem(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name
