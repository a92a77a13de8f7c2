"""BlazePose: people, their 33 body points and their hands, followed from frame to frame.

In a video a body is looked for where the frame before says it will be; the detector searches the
picture for others now and then, and at once when somebody is lost.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from aa_jax import files
from aa_jax.pose import blazepose
from aa_jax.pose.blazepose import Landmarks
from aa_jax.pose.blazepose_circles import Circles
from aa_jax.pose.blazepose_models import MODELS
from aa_jax.pose.blazepose_networks import Networks
from aa_jax.pose.blazepose_regions import (
    body_regions,
    crop,
    hand_regions,
    maps_of,
    placed,
    recropped,
)
from aa_jax.pose.blazepose_search import Tile, search, tiles_of
from aa_jax.pose.detectors import Pictures
from aa_jax.pose.people import People

Picture = UInt8[np.ndarray, "h w 3"]

_VERSION = 1  # of what is made of the networks' answers; raised, it makes caches anew
_SEARCH_EVERY = 30  # frames
_TILES_IN_TURN = 3  # of a search
_LARGE = 1 / 12  # radius of a body, of the picture's longer side: it is large
_SEARCH_AFTER_LOSS = 8  # frames
# Two bodies are one: hips and sizes of a find and of a body that is followed; mean distance of
# points of two that are followed. Radii are those of the circles around the bodies.
_SAME_HIPS, _SAME_SIZE, _SAME_POINTS = 0.4, 1.6, 0.2
_SAME_LOOK, _NEW_FLAG = 0.17, 0.6  # of bodies looked at twice
_LEAST_SEEN, _SEEN = 5, 0.3  # points of a body, with that score, in the picture
_LEAST_HAND = 16  # pixels of the side of its region; in fewer nothing can be seen


class BlazePose:
    """MediaPipe's four networks."""

    name = "BlazePose"
    device = "cpu"

    def __init__(self, folder: str | Path, *, threads: int = 0) -> None:
        """Loads the networks.

        Args:
          folder: what `blazepose_models.find_models` returned.
          threads: CPU threads; 0: as many as there are cores.

        Raises:
          DetectionError: ai-edge-litert is missing, or a file is no network.
        """
        self._folder = Path(folder)
        detector, pose, recrop, hand = (self._folder / name for name in MODELS)
        self.networks = Networks(threads)
        self.detect = self.networks.open(detector, (0, 1))
        self._pose = self.networks.open(pose, (0, 1, 3))
        self._recrop = self.networks.open(recrop, (0,))
        self._hand = self.networks.open(hand, (0, 1))

    @functools.cached_property
    def key(self) -> str:
        """Names the content of the files and the way they are used."""
        hashes = (files.sha256(self._folder / name) for name in MODELS)
        return f"blazepose{_VERSION}:" + "+".join(hashes)

    def __call__(self, pictures: Pictures) -> list[People]:
        """Everyone in each of some RGB pictures, which may have different sizes."""
        begun = [self.stream().begin(picture) for picture in pictures]
        return [finish() for finish in begun]

    def stream(self, state: np.ndarray | None = None) -> Tracker:
        """Detection in the frames of one video, in order."""
        return Tracker(self, state)

    def bodies(self, picture: Picture, regions: Float[np.ndarray, "n 4"]) -> Landmarks:
        """The points of the bodies in some regions of a picture."""
        crops = self._crops(picture, regions, blazepose.POSE_SIDE)
        return blazepose.landmarks_of(*self._pose(crops), regions)

    def hands(
        self, picture: Picture, landmarks: Landmarks
    ) -> Callable[[], tuple[Float[np.ndarray, "n 2 21 2"], Float[np.ndarray, "n 2"]]]:
        """What waits for the hands of some bodies, which are looked at while the caller goes on.

        It gives their points, the left hand's first, and the probabilities that they are there.
        Those of wrists that are not seen, or too small to be seen, are absent: 0.
        """
        count = len(landmarks.points)
        ends = [blazepose.LEFT_WRIST_PINKY_INDEX, blazepose.RIGHT_WRIST_PINKY_INDEX]
        rough = hand_regions(landmarks.points[:, ends].reshape(-1, 3, 2))
        wrists = landmarks.visibility[:, [end[0] for end in ends]].ravel()
        seen = (wrists >= blazepose.WRIST_THRESHOLD) & _is_shown(rough, picture)
        begun = [
            (i, self.networks.begin(self._hand_in, picture, rough[[i]]))
            for i in np.flatnonzero(seen)
        ]

        def finish() -> tuple[np.ndarray, np.ndarray]:
            points, scores = np.zeros((2 * count, 21, 2)), np.zeros(2 * count)
            for i, hand in begun:
                points[i], scores[i] = hand.result()
            scores[scores < blazepose.FLAG_THRESHOLD] = 0
            return points.reshape(count, 2, 21, 2), scores.reshape(count, 2)

        return finish

    def _hand_in(
        self, picture: Picture, rough: Float[np.ndarray, "1 4"]
    ) -> tuple[Float[np.ndarray, "21 2"], float]:
        (ends,) = self._recrop(self._crops(picture, rough, blazepose.RECROP_SIDE))
        maps = maps_of(rough, blazepose.RECROP_SIDE)
        region = recropped(placed(ends.reshape(-1, 2, 2), maps))
        outputs, flags = self._hand(self._crops(picture, region, blazepose.HAND_SIDE))
        points = outputs.reshape(-1, 21, 3)[..., :2].astype(np.float64)
        points = placed(points, maps_of(region, blazepose.HAND_SIDE))
        return points[0], float(flags[0, 0] * (region[0, 2] >= _LEAST_HAND))

    def _crops(self, picture: Picture, regions: np.ndarray, side: int) -> np.ndarray:
        crops = np.empty((len(regions), side, side, 3), np.float32)

        def fill(target: np.ndarray, region: np.ndarray) -> None:
            np.multiply(crop(picture, region, side), np.float32(1 / 255), out=target)

        self.networks.spread(fill, crops, regions)
        return crops


class Tracker:
    """People followed through one video.

    Attributes:
      state: [1 + n, 12]: frames passed and frames since somebody was lost, then `Circles.packed` of
        n people.
    """

    def __init__(self, detector: BlazePose, state: np.ndarray | None = None) -> None:
        """Args:
        state: of another tracker, as which this one goes on.
        """
        self._detector = detector
        self.state = np.zeros((1, 12)) if state is None else np.array(state, np.float64)

    def __call__(self, pictures: Pictures) -> list[People]:
        """Everyone in each of the next frames.

        The next frame's bodies do not depend on hands, so these are looked at beside them.
        """
        begun = [self.begin(picture) for picture in pictures]
        return [finish() for finish in begun]

    def begin(self, picture: Picture) -> Callable[[], People]:
        """Follows the bodies into the next frame; what is returned waits for their hands."""
        frame, since_loss = (int(value) for value in self.state[0, :2])
        circles = Circles.unpacked(self.state[1:])
        known, there = self._bodies(picture, circles.regions())
        circles = circles.chosen(there).moved(known.circles)
        since_loss = since_loss + 1 if there.all() else 0
        largest = _radii(known.circles).max(initial=0)
        tiles = _tiles_for(picture, frame, largest, since_loss)
        if tiles:
            found = search(picture, tiles, self._detector.detect).points[:, :2]
            new = ~_are_known(found, known.circles)
            more = self._newcomers(picture, body_regions(found[new]))
            known, circles = _joined(known, more), circles.joined(Circles.begun(more.circles))
        kept = _distinct(known)
        known, circles = _chosen(known, kept), circles.chosen(kept)
        self.state = np.zeros((1 + len(known.flags), 12))
        self.state[0, :2] = frame + 1, since_loss
        self.state[1:] = circles.packed()
        hands = self._detector.hands(picture, known)
        size = picture.shape[1::-1]

        def finish() -> People:
            points, scores = blazepose.to_openpose(known, *hands(), size)
            return People(points, scores, len(points))

        return finish

    def _bodies(self, picture: Picture, regions: np.ndarray) -> tuple[Landmarks, np.ndarray]:
        """The bodies in those of n regions that show one, and which these are, [n]."""
        there = np.zeros(len(regions), bool)
        if not len(regions):
            return _NOBODY, there
        landmarks = self._detector.bodies(picture, regions)
        # A circle that has shrunk to nothing, or left the picture, holds nobody.
        there = _is_shown(body_regions(landmarks.circles), picture)
        there &= landmarks.flags >= blazepose.FLAG_THRESHOLD
        there &= _are_seen(landmarks, picture)
        return _chosen(landmarks, there), there

    def _newcomers(self, picture: Picture, regions: np.ndarray) -> Landmarks:
        """Bodies in regions the detector found: those that look the same at a second look.

        Of what is no body the network says another thing each time.
        """
        first, _ = self._bodies(picture, regions)
        second, there = self._bodies(picture, body_regions(first.circles))
        first = _chosen(first, there)
        gaps = np.linalg.norm(first.points - second.points, axis=-1).mean(-1)
        alike = gaps < _SAME_LOOK * _radii(second.circles)
        return _chosen(first, alike & (np.minimum(first.flags, second.flags) >= _NEW_FLAG))


def _tiles_for(picture: Picture, frame: int, largest: float, since_loss: int) -> list[Tile]:
    """Where people are looked for in a frame.

    Everywhere at first and, while nobody or only small people are known, at intervals. Beside
    somebody large, at intervals in the whole picture and some of the tiles in turn. Between, where
    nobody is known, and for some frames after the first and after a loss, in the whole picture and
    one tile in turn.

    Args:
      largest: radius of the largest body known, 0 if there is none.
      since_loss: frames since one was lost.
    """
    whole, *smaller = tiles_of(*picture.shape[1::-1])
    tiles = [tile for level in smaller for tile in level]
    search, rest = divmod(frame, _SEARCH_EVERY)
    if rest == 0:
        if frame == 0 or largest < _LARGE * max(picture.shape):
            return whole + tiles
        return whole + _in_turn(tiles, search * _TILES_IN_TURN, _TILES_IN_TURN)
    if largest and since_loss >= _SEARCH_AFTER_LOSS:
        return []
    return whole + _in_turn(tiles, frame, 1)


def _in_turn(tiles: list[Tile], first: int, count: int) -> list[Tile]:
    count = min(count, len(tiles))
    return [tiles[(first + k) % len(tiles)] for k in range(count)]


def _is_shown(regions: Float[np.ndarray, "n 4"], picture: Picture) -> np.ndarray:
    """Whether regions [n] have a size and touch the picture."""
    height, width = picture.shape[:2]
    x, y, side, _ = regions.T
    near = (abs(x - width / 2) < (width + side) / 2) & (abs(y - height / 2) < (height + side) / 2)
    return near & (side >= 2) & (side < 8 * math.hypot(width, height))


def _are_seen(landmarks: Landmarks, picture: Picture) -> np.ndarray:
    """Whether enough of bodies [n] is in the picture and visible."""
    height, width = picture.shape[:2]
    inside = ((landmarks.points >= 0) & (landmarks.points < [width, height])).all(-1)
    seen = np.minimum(landmarks.visibility, landmarks.presence) > _SEEN
    return (inside & seen).sum(-1) >= _LEAST_SEEN


def _are_known(found: Float[np.ndarray, "n 2 2"], known: Float[np.ndarray, "m 2 2"]) -> np.ndarray:
    """Which finds [n] are bodies that are followed already, by the circles around them."""
    gaps = np.linalg.norm(found[:, None, 0] - known[None, :, 0], axis=-1)
    radii = _radii(found)[:, None], _radii(known)[None]
    near = gaps < _SAME_HIPS * np.minimum(*radii)
    alike = np.maximum(*radii) < _SAME_SIZE * np.minimum(*radii)
    return (near & alike).any(1)


def _distinct(landmarks: Landmarks) -> np.ndarray:
    """Indices of bodies, each once; of two that are one the first, which was followed before."""
    points, radii = landmarks.points, _radii(landmarks.circles)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1).mean(-1)
    same = gaps < _SAME_POINTS * np.minimum(radii[:, None], radii)
    kept: list[int] = []
    for index in range(len(points)):
        if not same[index, kept].any():
            kept.append(index)
    return np.array(kept, int)


def _radii(circles: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, " n"]:
    return np.linalg.norm(circles[:, 1] - circles[:, 0], axis=-1)


def _joined(first: Landmarks, second: Landmarks) -> Landmarks:
    return Landmarks(*map(np.concatenate, zip(first, second, strict=True)))


def _chosen(landmarks: Landmarks, which: np.ndarray) -> Landmarks:
    return Landmarks(*(field[which] for field in landmarks))


_NOBODY = Landmarks(
    points=np.zeros((0, blazepose.NUM_BODY_POINTS, 2)),
    visibility=np.zeros((0, blazepose.NUM_BODY_POINTS)),
    presence=np.zeros((0, blazepose.NUM_BODY_POINTS)),
    flags=np.zeros(0),
    circles=np.zeros((0, 2, 2)),
)
