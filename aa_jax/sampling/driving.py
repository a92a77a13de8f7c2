"""Poses for `sample.py` from a driving video, or from keypoints of somebody else's body.

Both end in a file of keypoints beside the result, which `--poses` takes as well, and a report:

    me.mp4               the result
    me.poses.npz         the poses it was made from
    me.retargeting.json  every ratio that fitted the driver's body to the reference's
    me.overlay.mp4       driving video and reference picture with their skeletons
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from aa_jax import files
from aa_jax.config import SkeletonConfig
from aa_jax.pose.detection import Detector, Progress, detect_people, detect_picture
from aa_jax.pose.drawing import draw_keypoints
from aa_jax.pose.keypoints import Keypoints, KeypointsError
from aa_jax.pose.people import Detections, Who, warn_of_absence, warn_of_crowds
from aa_jax.pose.retargeting import Anchor, Method, retarget
from aa_jax.pose.sizes import LEAST_HEIGHT, warn_of_size, without_spots
from aa_jax.pose.smoothing import Method as Smoothing
from aa_jax.pose.smoothing import fill_gaps, smooth
from aa_jax.sampling.pace import Told

Picture = UInt8[np.ndarray, "h w 3"]
Report = Callable[[str], None]

OVERLAY_HEIGHT = 512
"""Pixels."""
_WHO_IS_FOUND = (
    "detectors find photographed people, head and all, at least about a tenth of the picture high; "
    "for a drawn figure give keypoints by --poses"
)


class DrivingError(ValueError):
    """A driving video has no poses to give; the message names it and says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrivingOptions:
    """How a driver's poses become the character's.

    Attributes:
      person: which of several people.
      smoothing: see `aa_jax.pose.smoothing.smooth`.
      retargeting: `none`, or the method of `aa_jax.pose.retargeting.retarget`.
      anchor: its anchor.
    """

    person: Who = "best"
    smoothing: Smoothing = "one_euro"
    retargeting: Method | Literal["none"] = "bones"
    anchor: Anchor = "auto"


class Seen(NamedTuple):
    """Everyone in a driving video.

    Attributes:
      people: of every frame of the file, without spots that are taken for people.
      frames: which of them show it at a constant rate.
      fps: that rate.
    """

    people: Detections
    frames: Int[np.ndarray, " t"]
    fps: float

    def keypoints(self, video: Path, who: Who) -> Keypoints:
        """One person's, at the constant rate; `KeypointsError` with the video's name for nobody."""
        try:
            keypoints = self.people.follow(who)[self.frames]
        except KeypointsError as error:
            raise KeypointsError(f"{video}: {error}") from None
        return dataclasses.replace(keypoints, fps=self.fps)


def look_at(
    video: Path,
    detector: Detector,
    *,
    max_frames: int | None = None,
    progress: Progress = False,
    report: Report = print,
) -> Seen:
    """Detects everyone in a driving video; arguments and errors are `poses_from_video`'s.

    Without a bar or a function for progress, `report` is told how far it is.
    """
    from aa_jax.media.video import scan_video

    report(f"the pose detector is {detector.name}, on the {detector.device}")
    scan = scan_video(video)
    for note in scan.notes:
        report(f"{video}: {note}")
    frames = scan.steady_frames[:max_frames]
    report(f"detecting poses in {len(frames)} frames of {video}")
    everyone = detect_people(
        video, detector, progress=progress or Told(report), max_frames=int(frames[-1]) + 1
    )
    people, spots = without_spots(everyone)
    size = f"less than {LEAST_HEIGHT} pixels high"
    if not people.people_found[frames].any():
        if everyone.people_found[frames].any():
            raise DrivingError(
                f"{video}: what is found is {size}, too little to be a person; {_WHO_IS_FOUND}"
            )
        raise DrivingError(
            f"{video}: no person is found in its {len(frames)} frames; {_WHO_IS_FOUND}"
        )
    if spots:
        report(f"warning: {video}: {spots} of what is found is {size} and taken for nobody")
    return Seen(people, frames, scan.fps)


def poses_from_video(
    video: Path,
    reference: Picture,
    output: Path,
    *,
    style: SkeletonConfig,
    options: DrivingOptions,
    detector: Detector,
    reference_poses: Path | None = None,
    max_frames: int | None = None,
    progress: Progress = False,
    report: Report = print,
) -> Path:
    """Detects, smooths and retargets the poses of a video; writes what the module names.

    Args:
      video: any video; of a variable frame rate, the frames shown at a constant one are taken.
      reference: the character, RGB.
      output: the result's path, from which the other files' names come.
      style: how skeletons are drawn in the overlay.
      detector: of `aa_jax.pose.detection.open_detector`.
      reference_poses: the character's keypoints; by default they are detected in the picture.
      max_frames: use at most so many frames, from the start.
      progress: of detection, see `aa_jax.pose.detection.Progress`.
      report: takes lines about what is being done and what is doubtful.

    Returns:
      The file of keypoints.

    Raises:
      DrivingError, DetectionError, KeypointsError, VideoError: in one line, naming the file.
    """
    seen = look_at(video, detector, max_frames=max_frames, progress=progress, report=report)
    if options.person == "best":
        warn_of_crowds(video, seen.people.people_found[seen.frames], report)
    driver = seen.keypoints(video, options.person)
    warn_of_size(video, driver, report)
    driver = smooth(fill_gaps(driver), options.smoothing)
    warn_of_absence(video, driver, style.threshold, report)
    if reference_poses is not None:
        character = _reference_keypoints(reference_poses, reference)
    else:
        character = detect_picture(reference, detector)
    fitted = _fit(driver, character, output, options, report)
    overlay = output.with_name(f"{output.stem}.overlay.mp4")
    _write_overlay(overlay, video, reference, driver, fitted, style)
    report(f"wrote {overlay}: driving video and reference with their skeletons")
    return _save(fitted, output)


def fit_poses(
    driver: Keypoints,
    reference_poses: Path,
    reference: Picture,
    output: Path,
    *,
    options: DrivingOptions,
    report: Report = print,
) -> Path:
    """Retargets keypoints to the character's, and writes them and the report.

    Args:
      driver: somebody else's.
      reference_poses: a file of the character's keypoints in the reference picture.
      options: how they are fitted; the person is chosen and smoothed already.

    Returns:
      The file of keypoints beside `output`.

    Raises:
      KeypointsError: the file cannot be used.
    """
    character = _reference_keypoints(reference_poses, reference)
    return _save(_fit(driver, character, output, options, report), output)


def _reference_keypoints(path: Path, reference: Picture) -> Keypoints:
    height, width = reference.shape[:2]
    return Keypoints.load(path, width=width, height=height).resized(width, height)


def _fit(
    driver: Keypoints,
    character: Keypoints,
    output: Path,
    options: DrivingOptions,
    report: Report,
) -> Keypoints:
    if options.retargeting == "none":
        return driver
    fitted, ratios = retarget(driver, character, anchor=options.anchor, method=options.retargeting)
    path = output.with_name(f"{output.stem}.retargeting.json")
    files.write_text(path, json.dumps(ratios.as_dict(), indent=2) + "\n")
    report(f"fitted the poses to the reference, scale {ratios.scale:.2f}; ratios in {path}")
    for line in ratios.warnings:
        report(f"warning: {line}")
    return fitted


def _save(keypoints: Keypoints, output: Path) -> Path:
    path = output.with_name(f"{output.stem}.poses.npz")
    keypoints.save(path)
    return path


# --- the overlay --------------------------------------------------------------------------------


def _write_overlay(path, video, reference, driver, fitted, style) -> None:
    """Left the driving video, right the reference, each with the skeleton that belongs to it.

    Without retargeting the driver's skeleton lies on both, resized.
    """
    from aa_jax.media.pictures import resize
    from aa_jax.media.provenance.mark import Mark
    from aa_jax.media.video import open_video, write_video

    sizes = [
        (round(picture.width / picture.height * OVERLAY_HEIGHT), OVERLAY_HEIGHT)
        for picture in (driver, fitted)
    ]
    still = resize(reference, *sizes[1])

    def pictures() -> Iterator[Picture]:
        with open_video(video, steady=True) as opened:
            for t, frame in zip(range(len(driver)), opened.frames, strict=False):
                left = with_skeleton(resize(frame, *sizes[0]), driver[t : t + 1], style)
                right = with_skeleton(still, fitted[t : t + 1], style)
                yield np.concatenate([left, right], axis=1)

    write_video(path, pictures(), driver.fps, mark=Mark("composite"))


def with_skeleton(picture: Picture, keypoints: Keypoints, style: SkeletonConfig) -> Picture:
    """A picture, darker where the skeleton of the keypoints' only frame lies over it."""
    height, width = picture.shape[:2]
    skeleton = draw_keypoints(keypoints, width, height, style)[0]
    drawn = skeleton.any(-1, keepdims=True)
    # Integers: half-bright picture below, skeleton above.
    return np.where(drawn, picture // 4 + skeleton // 4 * 3, picture)
