"""Everyone in a video, numbered: what the tab "Poses" runs, in a process of its own.

It takes the flags of `sample.py` about a driving video, checks and words them as that does, and
writes into the output's folder:

    overlay.mp4    the video, with everyone's skeleton and number
    person_1.png   one picture of each person
    people.json    who they are, see `Person`
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from aa_jax import cli, files
from aa_jax.config import ConfigError, SkeletonConfig
from aa_jax.media.pictures import Picture, resize, write_picture
from aa_jax.media.provenance.mark import Mark
from aa_jax.media.video import open_video, write_video
from aa_jax.pose.detection import open_detector
from aa_jax.pose.keypoints import Keypoints
from aa_jax.pose.sizes import height_of, warn_of_size
from aa_jax.pose.smoothing import fill_gaps, smooth
from aa_jax.sampling.driving import OVERLAY_HEIGHT, Seen, look_at, with_skeleton
from aa_jax.sampling.flags import parse
from aa_jax.sampling.pace import Told

OVERLAY, PEOPLE = "overlay.mp4", "people.json"
MOST = 9
"""How many people are numbered."""

_BRIEF = 0.1
"""Share, of frames that show anybody, below which a person has no number, unless all are below."""

_STYLE = SkeletonConfig()
_MARK = Mark("composite")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """One person of a video.

    Attributes:
      who: frame and number in it, as `--person` takes them.
      frames: how many show the person, of how many there are.
      height: pixels, the median; 0 where only one joint is ever seen.
      picture: name of a file.
    """

    who: str
    frames: int
    of: int
    height: int
    picture: str


def read(folder: Path) -> list[Person]:
    """Who was found, the one seen best first."""
    found = json.loads((folder / PEOPLE).read_text(encoding="utf-8"))
    return [Person(**person) for person in found]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code of `sample.py`."""
    try:
        flags = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    return cli.report_errors(lambda: run(flags))


def run(flags: argparse.Namespace) -> None:
    """Looks at `--driving`; raises what `aa_jax.sampling.driving.look_at` raises."""

    def report(line: str) -> None:
        print(line, flush=True)

    if not flags.driving:
        raise ConfigError("there is no video to look at; upload one")
    video, folder = flags.driving, flags.output.parent
    detector = open_detector(
        flags.detector or "auto",
        dwpose=flags.dwpose,
        pose_models=flags.pose_models,
        report=report,
    )
    seen = look_at(video, detector, max_frames=flags.frames, report=report)
    crowded = float((seen.people.people_found[seen.frames] > 1).mean())
    if crowded:
        report(f"warning: several people in {crowded:.0%} of the frames; choose one of them")
    people, described = [], []
    for number, ((t, index), frames) in enumerate(_numbered(seen, report), 1):
        keypoints = seen.keypoints(video, (t, index))
        warn_of_size(Path(f"person {number}"), keypoints, report)
        person = Person(
            who=f"{t}:{index}",
            frames=frames,
            of=len(np.unique(seen.frames)),
            height=round(height_of(keypoints) or 0),
            picture=f"person_{number}.png",
        )
        people.append(smooth(fill_gaps(keypoints), flags.smoothing or "one_euro"))
        described.append(dataclasses.asdict(person))
    report(f"drawing who is found over {video}")
    _draw(folder, video, people, seen.fps, Told(report, "drawn"))
    text = json.dumps(described, indent=2)
    files.write_text(folder / PEOPLE, text + "\n")


def _numbered(seen: Seen, report: Callable[[str], None]) -> list[tuple[tuple[int, int], int]]:
    """Everyone who gets a number: a frame and an index in it, and how many frames show them."""
    found = seen.people.people_found > 0  # elsewhere the detector has taken the whole picture
    shown = [int(t) for t in np.unique(seen.frames) if found[t]]
    tracks = [(track, [t for t in shown if t in track]) for track in seen.people.tracks()]
    there = [(track, frames) for track, frames in tracks if frames]
    least = _BRIEF * len(shown)
    longer = [(track, frames) for track, frames in there if len(frames) >= least]
    chosen = (longer or there)[:MOST]
    if len(chosen) < len(there):
        report(
            f"warning: without a number: {len(there) - len(chosen)} who are seen too briefly, or "
            f"are beyond the first {MOST}"
        )
    return [((frames[0], track[frames[0]]), len(frames)) for track, frames in chosen]


# --- pictures -----------------------------------------------------------------------------------


def _draw(folder: Path, video: Path, people: list[Keypoints], fps: float, told: Told) -> None:
    """The overlay, and everyone's picture in the frame that shows them best."""
    width = round(people[0].width / people[0].height * OVERLAY_HEIGHT)
    best = [int(person.body_scores.mean(1).argmax()) for person in people]

    def pictures() -> Iterator[Picture]:
        with open_video(video, steady=True) as opened:
            for t, frame in zip(range(len(people[0])), opened.frames, strict=False):
                small = drawn = resize(frame, width, OVERLAY_HEIGHT)
                there = [each for each in enumerate(people, 1) if _box(small, each[1], t)]
                told(t, len(people[0]))
                for number, person in there:
                    drawn = with_skeleton(drawn, person[t : t + 1], _STYLE)
                    if best[number - 1] == t:
                        alone = with_skeleton(small, person[t : t + 1], _STYLE)
                        alone = _labelled(alone, person, t, number)
                        path = folder / f"person_{number}.png"
                        write_picture(path, _around(alone, person, t), _MARK)
                for number, person in there:
                    drawn = _labelled(drawn, person, t, number)
                yield drawn

    write_video(folder / OVERLAY, pictures(), fps, mark=_MARK)


def _box(picture: Picture, person: Keypoints, t: int) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of the visible joints, in pixels of the picture."""
    seen = person.body_scores[t] > _STYLE.threshold
    if not seen.any():
        return None
    points = person.body[t, seen] * (picture.shape[1] / person.width)
    return (*points.min(0), *points.max(0))


def _labelled(picture: Picture, person: Keypoints, t: int, number: int) -> Picture:
    """With the person's number above the head."""
    box = _box(picture, person, t)
    if box is None:
        return picture
    height, width = picture.shape[:2]
    radius = 14
    x = int(np.clip((box[0] + box[2]) / 2, radius, width - radius))
    y = int(np.clip(box[1] - 2 * radius, radius, height - radius))
    picture = np.ascontiguousarray(picture)
    cv2.circle(picture, (x, y), radius, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, (x, y), radius, (0, 0, 0), 2, cv2.LINE_AA)
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2
    (w, h), _ = cv2.getTextSize(str(number), font, scale, thickness)
    place = x - w // 2, y + h // 2
    cv2.putText(picture, str(number), place, font, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    return picture


def _around(picture: Picture, person: Keypoints, t: int) -> Picture:
    """The part of the picture that shows the person, with room on all sides."""
    box = _box(picture, person, t)
    if box is None:
        return picture
    left, top, right, bottom = box
    room = 0.35 * max(right - left, bottom - top) + 32
    height, width = picture.shape[:2]
    x0, x1 = (int(np.clip(x, 0, width)) for x in (left - room, right + room))
    y0, y1 = (int(np.clip(y, 0, height)) for y in (top - room, bottom + room))
    return picture[y0:y1, x0:x1]


if __name__ == "__main__":
    sys.exit(main())
