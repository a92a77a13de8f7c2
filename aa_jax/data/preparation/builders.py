"""TFDS builders: stored clips become ArrayRecord files that need neither this code nor TensorFlow.

A dataset is two TFDS datasets side by side: `clips`, a table with one record per clip, and
`frames`, with one record per JPEG (storage `jpeg`) or per MP4 (storage `mp4`) in the same order:

    frames = tfds.builder_from_directory("DATA/dataset/folder/frames/1.0.0").as_data_source("train")
    frames[0]["jpeg"], frames[0]["body"]

Pictures are bytes in `Text` features, since TFDS' own picture and video features need TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from aa_jax.data.preparation.media import read_jpegs
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.layout import POINT_SHAPES

VERSION = "1.0.0"


@dataclasses.dataclass(frozen=True)
class StoredClip:
    """A clip of `media.store`, under the split and name it gets in the dataset."""

    split: str
    name: str
    folder: Path


class _Clips(tfds.core.GeneratorBasedBuilder):
    """Base of the builders; their names are those of the layouts."""

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012 (tfds' way)
        tfds.core.BuilderConfig(name="clips", description="one record per clip"),
        tfds.core.BuilderConfig(name="frames", description="one record per JPEG or MP4"),
    ]

    def __init__(self, *, clips: Sequence[StoredClip] = (), storage: str = "jpeg", **kwargs: Any):
        self._clips, self._storage = tuple(clips), storage
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        table = self.builder_config.name == "clips"
        return tfds.core.DatasetInfo(
            builder=self,
            description="Clips of one person each, with OpenPose keypoints, to animate characters.",
            features=_table_features() if table else _frame_features(self._storage),
            disable_shuffling=True,  # records are addressed by their position
        )

    def _split_generators(self, download_manager: Any) -> dict[str, Iterator]:
        del download_manager  # everything is here already
        splits = sorted({clip.split for clip in self._clips})
        return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        clips = [clip for clip in self._clips if clip.split == split]
        record = 0
        if self.builder_config.name == "clips":
            for index, clip in enumerate(clips):
                row = _table_row(clip, record)
                record += row["frames"] if self._storage == "jpeg" else 1
                yield index, row
            return
        for clip in tqdm(clips, desc=f"writing {split}", unit="clip"):
            for example in _frame_records(clip, self._storage):
                yield record, example
                record += 1


class Folder(_Clips):
    """Any folder of videos."""


class UbcFashion(_Clips):
    """UBC Fashion: 500 training and 100 test videos of dresses on white."""


class Tiktok(_Clips):
    """The TikTok dataset of dances, as folders of frames."""


class TedTalks(_Clips):
    """TED talks: upper bodies of speakers."""


BUILDERS = {"folder": Folder, "ubc_fashion": UbcFashion, "tiktok": Tiktok, "ted_talks": TedTalks}


def write_dataset(folder: Path, layout: str, clips: Sequence[StoredClip], storage: str) -> None:
    """Writes `clips` and `frames` below `folder/<layout>`, clips in the given order per split."""
    tfds.disable_progress_bar()
    for config in ("clips", "frames"):
        builder = BUILDERS[layout](
            clips=clips,
            storage=storage,
            data_dir=str(folder),
            config=config,
            file_format="array_record",
        )
        with contextlib.redirect_stdout(None):  # speaks of downloads
            builder.download_and_prepare()
    shutil.rmtree(folder / "downloads", ignore_errors=True)  # made by TFDS, empty


def _table_features() -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "name": tfds.features.Text(doc="path of the video below its folder"),
            "fps": tfds.features.Scalar(np.float32),
            "width": tfds.features.Scalar(np.int64),
            "height": tfds.features.Scalar(np.int64),
            "frames": tfds.features.Scalar(np.int64),
            "first": tfds.features.Scalar(np.int64, doc="the clip's first record among `frames`"),
        }
    )


def _frame_features(storage: str) -> tfds.features.FeaturesDict:
    axis = () if storage == "jpeg" else (None,)
    points = {
        name: tfds.features.Tensor(shape=(*axis, *shape), dtype=np.float32)
        for name, shape in POINT_SHAPES.items()
    }
    return tfds.features.FeaturesDict({storage: tfds.features.Text(), **points})


def _table_row(clip: StoredClip, first: int) -> dict[str, Any]:
    keypoints = Keypoints.load(clip.folder / "clip.npz")
    return {
        "name": clip.name,
        "fps": keypoints.fps,
        "width": keypoints.width,
        "height": keypoints.height,
        "frames": len(keypoints),
        "first": first,
    }


def _frame_records(clip: StoredClip, storage: str) -> Iterator[dict[str, Any]]:
    keypoints = Keypoints.load(clip.folder / "clip.npz")
    points = {name: getattr(keypoints, name) for name in POINT_SHAPES}
    if storage == "mp4":
        yield {"mp4": (clip.folder / "clip.mp4").read_bytes(), **points}
        return
    for index, jpeg in enumerate(read_jpegs(clip.folder)):
        yield {"jpeg": jpeg, **{name: array[index] for name, array in points.items()}}
