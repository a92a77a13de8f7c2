"""OpenPose's JSON: one file, or a folder of one file per frame."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from aa_jax import files
from aa_jax.files import numbered
from aa_jax.pose.layout import (
    BODY_JOINTS,
    NUM_FACE_POINTS,
    NUM_HAND_POINTS,
    POINT_SHAPES,
    KeypointsError,
)

# OpenPose's 25-joint model has a mid hip (8) and feet (19 to 24), which the 18-joint model lacks.
_BODY_25_TO_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def read_openpose(
    path: pathlib.Path, width: int | None, height: int | None, fps: float | None
) -> dict[str, Any]:
    """The fields of `Keypoints`, as `Keypoints.load` describes them.

    Raises:
      KeypointsError: without the path, which the caller adds.
    """
    header, frames = _openpose_frames(path)
    sizes = [header, *(frame for frame in frames if isinstance(frame, dict))]
    width = width or _first(sizes, "canvas_width", "width")
    height = height or _first(sizes, "canvas_height", "height")
    if not width or not height:
        raise KeypointsError(
            "fields 'canvas_width' and 'canvas_height' are missing; add the size, in pixels, of "
            "the pictures the points were measured in"
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in POINT_SHAPES}
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("people"), list):
            raise KeypointsError(f"frame {index}: field 'people' is missing or is no list")
        person = _best_person(frame["people"], index)
        for name in POINT_SHAPES:
            parts[name].append(person[name])
    arrays = {
        name: np.array(values, np.float32).reshape(len(frames), *POINT_SHAPES[name])
        for name, values in parts.items()
    }
    _fractions_to_pixels(arrays, width, height)
    fps = fps or _first(sizes, "fps") or 30.0
    return {**arrays, "width": width, "height": height, "fps": fps}


def write_openpose(path: pathlib.Path, fields: dict[str, Any]) -> None:
    """Writes the fields of `Keypoints` as `read_openpose` reads them, whole or not at all.

    Args:
      path: a `.json` that gets all frames, or a folder that gets one `NNNNNN_keypoints.json` each.
    """
    head = {
        "version": 1.3,
        "canvas_width": fields["width"],
        "canvas_height": fields["height"],
        "fps": fields["fps"],
    }
    frames = [{"people": _people(fields, t)} for t in range(len(fields["body"]))]
    if path.suffix == ".json":
        files.write_text(path, json.dumps({**head, "frames": frames}))
        return
    with files.replacing(path) as folder:
        for t, frame in enumerate(frames):
            (folder / f"{t:06d}_keypoints.json").write_text(json.dumps({**head, **frame}))


def _people(fields: dict[str, Any], t: int) -> list[dict[str, Any]]:
    """The one person of a frame, or no one."""
    if not any((fields[name][t] > 0).any() for name in POINT_SHAPES if name.endswith("scores")):
        return []
    parts = {
        "pose": (fields["body"][t], fields["body_scores"][t]),
        "face": (fields["face"][t], fields["face_scores"][t]),
        "hand_left": (fields["hands"][t, 0], fields["hand_scores"][t, 0]),
        "hand_right": (fields["hands"][t, 1], fields["hand_scores"][t, 1]),
    }
    rows = {name: np.column_stack(part).astype(np.float64) for name, part in parts.items()}
    return [{f"{name}_keypoints_2d": np.round(r, 4).ravel().tolist() for name, r in rows.items()}]


def _fractions_to_pixels(arrays: dict[str, np.ndarray], width: Any, height: Any) -> None:
    """Some tools write points as fractions of the canvas; no person is two pixels large."""
    largest = max(
        np.abs(arrays[name][arrays[scores] > 0]).max(initial=0)
        for name, scores in (("body", "body_scores"), ("hands", "hand_scores"))
    )
    if 0 < largest <= 2 and isinstance(width, int) and isinstance(height, int):
        for name in ("body", "hands", "face"):
            arrays[name] *= np.array([width, height], np.float32)


def _openpose_frames(path: pathlib.Path) -> tuple[dict[str, Any], list[Any]]:
    """The JSON's head (sizes, fps) and its list of frames."""
    if path.is_dir():
        files = numbered(path, ["_keypoints.json"])
        if not files:
            raise KeypointsError("no poses; the folder has no *_keypoints.json file")
        return {}, [_read_json(file) for file in files]
    content = _read_json(path)
    if isinstance(content, list):
        return {}, content
    if isinstance(content, dict) and isinstance(content.get("frames"), list):
        return content, content["frames"]
    return {}, [content]


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise KeypointsError(f"{path.name} is not readable JSON ({error})") from None


def _first(places: list[dict[str, Any]], *names: str) -> Any:
    return next((place[name] for place in places for name in names if place.get(name)), None)


def _best_person(people: list[Any], frame: int) -> dict[str, np.ndarray]:
    persons = [_parse_person(person, frame) for person in people]
    if not persons:
        return {name: np.zeros(shape, np.float32) for name, shape in POINT_SHAPES.items()}
    return max(persons, key=lambda person: person["body_scores"].mean())


def _parse_person(person: Any, frame: int) -> dict[str, np.ndarray]:
    if not isinstance(person, dict):
        raise KeypointsError(f"frame {frame}: an entry of 'people' is no object")
    body = _triples(person, "pose_keypoints_2d", frame, (18, 25))
    if len(body) == 25:
        body = body[list(_BODY_25_TO_18)]
    hands = [
        _triples(person, f"hand_{side}_keypoints_2d", frame, (NUM_HAND_POINTS,))
        for side in ("left", "right")
    ]
    hands = np.stack([h if len(h) else np.zeros((NUM_HAND_POINTS, 3), np.float32) for h in hands])
    face = _triples(person, "face_keypoints_2d", frame, (NUM_FACE_POINTS, 70))
    face = face[:NUM_FACE_POINTS] if len(face) else np.zeros((NUM_FACE_POINTS, 3), np.float32)
    body = body if len(body) else np.zeros((len(BODY_JOINTS), 3), np.float32)
    parts = {"body": body, "hand": hands, "face": face}
    return {
        "body": parts["body"][..., :2],
        "body_scores": parts["body"][..., 2],
        "hands": parts["hand"][..., :2],
        "hand_scores": parts["hand"][..., 2],
        "face": parts["face"][..., :2],
        "face_scores": parts["face"][..., 2],
    }


def _triples(person: dict[str, Any], field: str, frame: int, counts: tuple[int, ...]) -> np.ndarray:
    """x, y, score rows of a flat list, [points, 3]; no rows if the field is absent or empty."""
    where = f"frame {frame}: field '{field}'"
    try:
        flat = np.array(person.get(field) or [], np.float32)
    except (TypeError, ValueError):
        raise KeypointsError(f"{where} must be a list of numbers x, y, score, ...") from None
    if flat.ndim != 1 or flat.size not in (0, *(3 * count for count in counts)):
        wanted = " or ".join(str(3 * count) for count in counts)
        raise KeypointsError(f"{where} must have {wanted} numbers, got shape {list(flat.shape)}")
    return flat.reshape(-1, 3)
