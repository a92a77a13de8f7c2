"""Everyone seen in a clip, before one person is chosen: the choice, and the file they rest in.

Raw detections are kept, not the chosen person, so that another choice needs no second detection.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from aa_jax import files
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.layout import KeypointsError
from aa_jax.pose.orders import BODY, FACE, HANDS, NUM_POINTS
from aa_jax.pose.tracks import Track, tracks_of

Who = Literal["best", "tracked"] | tuple[int, int]
"""Of several people: in every frame the one with the highest mean body score; the same one all
through, who is seen best in sum; or whoever is number k of frame t, both from 0, all through."""

VISIBLE = 0.3
"""Joints of a higher score count as seen."""
_CROWDED = _EMPTY = 0.1
"""Share of frames with several people, or with nobody, from which on it is worth a line."""


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """All people of one frame.

    Attributes:
      points: [n, 134, 2] pixels; see `aa_jax.pose.orders` for the order.
      scores: [n, 134], the network's own, about 0 to 1.
      found: boxes the person detector gave; where it gave none, the whole picture was taken for
        one (n = 1, found = 0). Of keypoint files: people with a body joint that is drawn.
    """

    points: Float32[np.ndarray, "n 134 2"]
    scores: Float32[np.ndarray, "n 134"]
    found: int


def warn_of_crowds(path: Path, found: Int[np.ndarray, " t"], report: Callable[[str], None]) -> None:
    """Says that frames hold several people, of whom nobody has chosen one, if many do.

    Args:
      path: of the video or keypoints, for the line.
      found: how many people are in each frame.
      report: takes the line.
    """
    crowded = float((found > 1).mean())
    if crowded > _CROWDED:
        report(
            f"warning: {path}: several people in {crowded:.0%} of the frames; the one seen best "
            "in each is taken, --person tracked follows one through the clip"
        )


def warn_of_absence(
    path: Path, keypoints: Keypoints, threshold: float, report: Callable[[str], None]
) -> None:
    """Says that frames show nobody, if many do.

    Args:
      path: of the keypoints, for the line.
      threshold: only joints of a higher score are drawn.
      report: takes the line.
    """
    scores = (keypoints.body_scores, keypoints.hand_scores, keypoints.face_scores)
    drawn = [(part > threshold).reshape(len(keypoints), -1).any(1) for part in scores]
    empty = float((~np.any(drawn, axis=0)).mean())
    if empty > _EMPTY:
        report(
            f"warning: {path}: nobody is drawn in {empty:.0%} of the frames, in which no score is "
            f"above {threshold:g}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """All people of all frames of a clip.

    Attributes:
      frames: one entry per frame.
      width, height: pixels of the pictures.
      fps: frames per second.
    """

    frames: tuple[People, ...]
    width: int
    height: int
    fps: float

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def people_found(self) -> Int[np.ndarray, " t"]:
        """How many people were found in each frame."""
        return np.array([people.found for people in self.frames], int)

    def keypoints(self, *, track: bool = False, person: tuple[int, int] | None = None) -> Keypoints:
        """One person's keypoints.

        Args:
          track: follow one person through the clip, the one seen best in sum; otherwise every
            frame takes the person with the highest mean body score, as DWPose does.
          person: follow this one instead: a frame, and an index among its people.
        """
        chosen = self.chosen(track=track, person=person)
        points = np.zeros((len(self), NUM_POINTS, 2), np.float32)
        scores = np.zeros((len(self), NUM_POINTS), np.float32)
        for t, (people, person) in enumerate(zip(self.frames, chosen, strict=True)):
            if person is not None:
                points[t], scores[t] = people.points[person], people.scores[person]
        scores = np.clip(scores, 0, 1)
        return Keypoints(
            body=points[:, BODY],
            body_scores=scores[:, BODY],
            width=self.width,
            height=self.height,
            fps=self.fps,
            hands=points[:, HANDS].reshape(-1, 2, 21, 2),
            hand_scores=scores[:, HANDS].reshape(-1, 2, 21),
            face=points[:, FACE],
            face_scores=scores[:, FACE],
        )

    def follow(self, who: Who) -> Keypoints:
        """One person's keypoints, by what `--person` says; raises as `chosen` does."""
        if isinstance(who, tuple):
            return self.keypoints(person=who)
        return self.keypoints(track=who == "tracked")

    def tracks(self) -> list[Track]:
        """Everyone of the clip, the one seen best in sum first."""
        bodies = [people.scores[:, BODY] for people in self.frames]
        return tracks_of(
            [people.points[:, BODY].astype(np.float64) for people in self.frames],
            [scores > VISIBLE for scores in bodies],
            [scores.mean(1) for scores in bodies],
            (self.width, self.height),
        )

    def chosen(
        self, *, track: bool = False, person: tuple[int, int] | None = None
    ) -> list[int | None]:
        """Per frame the index of one person among its people; see `keypoints`.

        Raises:
          KeypointsError: there is no such person.
        """
        if person is not None:
            t, index = person
            if not 0 <= t < len(self):
                raise KeypointsError(f"there is no frame {t}: there are {len(self)}, from 0")
            there = len(self.frames[t].points)
            if not 0 <= index < there:
                raise KeypointsError(
                    f"there is no person {index} in frame {t}: it shows {there}, from 0"
                )
            followed = next(each for each in self.tracks() if each.get(t) == index)
        elif track:
            followed = next(iter(self.tracks()), {})
        else:
            return [self._best(people) for people in self.frames]
        return [followed.get(t) for t in range(len(self))]

    @staticmethod
    def _best(people: People) -> int | None:
        if not len(people.scores):
            return None
        return int(people.scores[:, BODY].mean(1).argmax())


# --- the file -----------------------------------------------------------------------------------


class Saved(NamedTuple):
    """What is in a file.

    Attributes:
      detections: as they were saved.
      complete: whether these are all frames of the video.
      state: of the detector after the last of them.
    """

    detections: Detections
    complete: bool
    state: np.ndarray


def save(
    path: Path,
    key: str,
    detections: Detections,
    *,
    complete: bool,
    state: np.ndarray | None = None,
) -> None:
    """Writes detections so that a reader never sees half a file.

    Args:
      key: names what they were made of; `load` asks for the same.
      complete: whether these are all frames of the video.
      state: of the detector after the last of them.
    """
    frames = detections.frames
    with files.replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            key=key,
            complete=complete,
            state=np.zeros(0) if state is None else state,
            found=np.array([people.found for people in frames], np.int32),
            people=np.array([len(people.points) for people in frames], np.int32),
            points=_join((people.points for people in frames), (NUM_POINTS, 2)),
            scores=_join((people.scores for people in frames), (NUM_POINTS,)),
            width=detections.width,
            height=detections.height,
            fps=detections.fps,
        )


def load(path: Path, key: str) -> Saved | None:
    """What `save` wrote; None if it is no use.

    No file, a damaged one, and one of another video or other networks are all no use: the
    detections can always be made again.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            ends = np.cumsum(file["people"])[:-1]
            points, scores = (np.split(file[name], ends) for name in ("points", "scores"))
            found = file["found"].tolist()
            frames = tuple(map(People, points, scores, found)) if found else ()
            size = int(file["width"]), int(file["height"])
            detections = Detections(frames, *size, float(file["fps"]))
            # Files of before detectors had a state have none.
            state = file["state"] if "state" in file else np.zeros(0)
            return Saved(detections, bool(file["complete"]), state)
    except _UNREADABLE:
        return None


_UNREADABLE = (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


def _join(arrays: Iterable[np.ndarray], tail: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.zeros((0, *tail), np.float32), *arrays]).astype(np.float32)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder."""
    return os.access(folder, os.W_OK | os.X_OK)
