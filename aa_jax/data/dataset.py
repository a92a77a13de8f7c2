"""Reading a dataset that `prepare.py` wrote: clips by index, frames of a clip in any order."""

from __future__ import annotations

import dataclasses
import fractions
import functools
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from aa_jax.data.geometry import Size, crop_keypoints, crop_picture
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.layout import POINT_SHAPES


class DatasetError(ValueError):
    """A dataset cannot be read; the message names the folder and the fix."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split of a dataset as a random-access source of clips, `aa_jax.data.sources.Source`.

    Files are opened by each process and thread when first asked for something, so that a dataset
    can be sent to worker processes.

    Attributes:
      folder: the output folder of `prepare.py`.
      split: `train` or `test`.
    """

    folder: Path
    split: str

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """`dataset.json`: layout, storage, fingerprint, and clips per split."""
        return describe(self.folder)

    def __len__(self) -> int:
        return self.description["splits"][self.split]

    def clip(self, index: int) -> Clip:
        """The clip of an index from 0 up."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        row = self._table[index]
        return Clip(
            index=int(index),
            name=row["name"].decode(),
            length=int(row["frames"]),
            fps=restored_rate(row["fps"]),
            size=(int(row["width"]), int(row["height"])),
            first=int(row["first"]),
            storage=self.description["storage"],
            records=self._records,
        )

    @functools.cached_property
    def clip_sizes(self) -> list[Size]:
        """Width and height of every clip."""
        return [(int(row["width"]), int(row["height"])) for row in self._table]

    @functools.cached_property
    def _table(self) -> list[dict[str, Any]]:
        return list(_open(self.folder, self.description["layout"], "clips", self.split))

    @functools.cached_property
    def _records(self) -> Sequence[dict[str, Any]]:
        return _open(self.folder, self.description["layout"], "frames", self.split)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "split": self.split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def restored_rate(stored: float) -> float:
    """The frame rate that a dataset holds in 32 bits: that of a whole number over 1 to 1001.

    So 24000/1001 comes back exactly; a rate that is no such fraction stays as it is stored.
    """
    near = float(fractions.Fraction(float(stored)).limit_denominator(1001))
    return near if np.float32(near) == np.float32(stored) else float(stored)


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip of a dataset.

    Attributes:
      index: its number in the split.
      name: path of the video it came from, below the folder of videos.
      length: frames.
      fps: frames per second.
      size: width and height of the stored frames.
      first: its first record.
      storage: `jpeg`: a record per frame; `mp4`: one for the clip.
      records: all records of the split.
    """

    index: int
    name: str
    length: int
    fps: float
    size: Size
    first: int
    storage: str
    records: Sequence[dict[str, Any]] = dataclasses.field(repr=False)

    def pictures(self, frames: Sequence[int], size: Size) -> UInt8[np.ndarray, "t h w 3"]:
        """Frames, centre-cropped to another size (width, height)."""
        decoded = self._jpegs(frames) if self.storage == "jpeg" else self._mp4_frames(frames)
        return np.stack([crop_picture(picture, size) for picture in decoded])

    def keypoints(self, frames: Sequence[int], size: Size) -> Keypoints:
        """Keypoints of frames as they lie in `pictures`."""
        if self.storage == "jpeg":
            records = self._read(frames)
            points = {name: np.stack([r[name] for r in records]) for name in POINT_SHAPES}
        else:
            record = self.records[self.first]
            points = {name: record[name][np.asarray(frames)] for name in POINT_SHAPES}
        width, height = self.size
        keypoints = Keypoints(width=width, height=height, fps=self.fps, **points)
        return crop_keypoints(keypoints, size)

    def _read(self, frames: Sequence[int]) -> list[dict[str, Any]]:
        # Each record once, however often a frame is asked for.
        unique, places = np.unique(np.asarray(frames), return_inverse=True)
        records = self.records.__getitems__((self.first + unique).tolist())
        return [records[place] for place in places]

    def _jpegs(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        from PIL import Image

        for record in self._read(frames):
            yield np.asarray(Image.open(io.BytesIO(record["jpeg"])))

    def _mp4_frames(self, frames: Sequence[int]) -> list[UInt8[np.ndarray, "h w 3"]]:
        width, height = self.size
        decoded = _decode_frames(self.records[self.first]["mp4"], set(map(int, frames)))
        # The encoder may have added a column or row to an odd size.
        return [decoded[int(frame)][:height, :width] for frame in frames]


def _decode_frames(mp4: bytes, wanted: set[int]) -> dict[int, UInt8[np.ndarray, "h w 3"]]:
    """Frames of an MP4 of constant rate by number, jumping to the key frames before them."""
    import av

    found: dict[int, np.ndarray] = {}
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        per_frame = 1 / (stream.average_rate * stream.time_base)
        position = None
        for target in sorted(wanted):
            if target in found:
                continue
            if position is None or not position < target <= position + _NEAR:
                container.seek(round(target * per_frame), stream=stream)
                decoder = container.decode(stream)
            for frame in decoder:
                position = round(frame.pts / per_frame)
                if position in wanted:
                    found[position] = frame.to_ndarray(format="rgb24")
                if position >= target:
                    break
    return found


_NEAR = 8  # frames that decoding on reaches sooner than seeking


def describe(folder: Path) -> dict[str, Any]:
    """`dataset.json` of a dataset.

    Raises:
      DatasetError: the folder is none that `prepare.py` finished.
    """
    path = folder / "dataset" / "dataset.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DatasetError(
            f"{folder}: no finished dataset; make one by prepare.py --videos DIR --output {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None


def open_dataset(folder: str | Path, split: str) -> Dataset:
    """Opens one split.

    Raises:
      DatasetError: the folder is no dataset, or has no such split.
    """
    dataset = Dataset(Path(folder), split)
    if split not in dataset.description["splits"]:
        splits = ", ".join(dataset.description["splits"])
        raise DatasetError(f"{folder}: has no split {split}, only {splits}")
    return dataset


def _open(folder: Path, layout: str, config: str, split: str) -> Sequence[dict[str, Any]]:
    import tensorflow_datasets as tfds

    versions = sorted((folder / "dataset" / layout / config).iterdir())
    return tfds.builder_from_directory(str(versions[-1])).as_data_source(split)
