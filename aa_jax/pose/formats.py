"""Keypoint JSON of every kind: which people are in which frame, still in the file's unit.

Kinds are recognised by the fields they have; docs/poses.md lists them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from aa_jax.pose.canvas import Size, own_size
from aa_jax.pose.layout import KeypointsError
from aa_jax.pose.numbering import Number, numbered_frames
from aa_jax.pose.persons import Person, person_of

_KNOWN = (
    "read are objects with 'people' (OpenPose, DWPose, ComfyUI), 'instance_info' (MMPose), "
    "'annotations' (COCO), and lists of 'image_id' with 'keypoints' (COCO, AlphaPose); "
    "see docs/poses.md"
)
_PEOPLE = ("people", "bodies", "instances")
_LISTS = ("frames", "instance_info", "predictions")
_MOST_NESTING = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """People of one frame.

    Attributes:
      people: in the file's unit.
      size: width and height of the canvas in pixels, if the frame states them.
      number: the frame's own number or name; None: its place in the file counts.
    """

    people: list[Person]
    size: Size | None = None
    number: Number | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """What a file holds.

    Attributes:
      frames: in order; those that the file leaves out because nobody is in them are there.
      size: width and height of the canvas in pixels, if the file as a whole states them.
      fps: as the file states it, unchecked; None: it does not.
    """

    frames: list[Frame]
    size: Size | None = None
    fps: Any = None


def content_of(json: Any, frames: int | None = None) -> Content:
    """Reads one parsed JSON file.

    Args:
      json: what the parser returned.
      frames: how many frames the clip has, if that is known; only for kinds that leave out frames
        of nobody.

    Raises:
      KeypointsError: without the file's name, which the caller adds.
    """
    if isinstance(json, dict):
        head = _head(json)
        if isinstance(json.get("annotations"), list):
            return dataclasses.replace(head, frames=_dataset(json))
        names = _joint_names(json)
        for field in _LISTS:
            if isinstance(json.get(field), list):
                found = _listed(json[field], names, frames, _MOST_NESTING)
                return dataclasses.replace(head, frames=found)
        if json and all(_holds_people(entry) for entry in json.values()):
            # AlphaPose in OpenPose's or CMU's form: frames by the names of their pictures.
            entries = {name: {**entry, "image_id": name} for name, entry in json.items()}
            found = [_frame(entry, name, ()) for name, entry in entries.items()]
            return Content(_by_number(found, frames))
        if not _is_known(json):
            raise _unknown(json)
        return dataclasses.replace(head, frames=_listed([json], names, frames, _MOST_NESTING))
    if isinstance(json, list):
        found = _listed(json, (), frames, _MOST_NESTING)
        fps = next((e["fps"] for e in json if isinstance(e, dict) and e.get("fps")), None)
        return Content(found, None, fps)
    raise _unknown(json)


def _head(json: dict[str, Any]) -> Content:
    return Content([], own_size(json), json.get("fps"))


def _listed(
    entries: list[Any], names: tuple[str, ...], frames: int | None, nesting: int
) -> list[Frame]:
    """Frames of a list: of frames, of a frame's people, or of people who name their frames."""
    entries_there = [entry for entry in entries if entry is not None]
    if not all(isinstance(entry, dict) for entry in entries_there):
        if nesting and all(isinstance(entry, list) for entry in entries_there):
            # One list per frame, or one per batch of frames.
            parts = [_listed(entry or [], names, None, nesting - 1) for entry in entries]
            return [frame for part in parts for frame in part or [Frame([])]]
        raise _unknown(entries)
    if all(_holds_people(entry) for entry in entries_there):
        found = [
            _frame(entry, index, names) if entry else Frame([])
            for index, entry in enumerate(entries)
        ]
        return _by_number(found, frames)
    if all("keypoints" in entry for entry in entries_there):
        if all("image_id" in entry for entry in entries_there):
            people: dict[Any, list[Person]] = {}
            for entry in entries_there:
                number = _number(entry["image_id"])
                person = person_of(entry, names, f"image_id {ascii(number)[:40]}")
                people.setdefault(number, []).append(person)
            return _by_number([Frame(who, None, n) for n, who in people.items()], frames)
        return [Frame([person_of(entry, names, "frame 0") for entry in entries_there])]
    raise _unknown(entries)


def _holds_people(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    return any(field in entry for field in _PEOPLE) and "keypoints" not in entry


def _frame(entry: dict[str, Any], index: int | str, names: tuple[str, ...]) -> Frame:
    where = f"frame {ascii(index)[:40]}"
    field = next(field for field in _PEOPLE if field in entry)
    people = entry[field] or []
    if not isinstance(people, list):
        raise KeypointsError(f"{where}: field '{field}' is no list of people")
    found = [person_of(person, names, where) for person in people if person is not None]
    number = entry.get("frame_id", entry.get("image_id"))
    return Frame(found, own_size(entry), None if number is None else _number(number))


def _by_number(found: list[Frame], frames: int | None) -> list[Frame]:
    """Frames in the order of their numbers, with those that are left out; as they are without."""
    numbers = [frame.number for frame in found]
    if not found or None in numbers or len(set(numbers)) < len(numbers):
        return found
    by_number = dict(zip(numbers, found, strict=True))
    return [
        Frame([]) if number is None else by_number[number]
        for number in numbered_frames(list(by_number), frames)
    ]


def _dataset(json: dict[str, Any]) -> list[Frame]:
    """Frames of a COCO data set: its pictures, in the order of their names, and their people."""
    pictures = json.get("images")
    if not isinstance(pictures, list) or not all(isinstance(p, dict) for p in pictures):
        raise KeypointsError("field 'images' is missing or is no list of pictures")
    names = _joint_names(json)
    people: dict[Number, list[Person]] = {}
    for picture in pictures:
        people[_number(picture.get("id"))] = []
    for annotation in json["annotations"]:
        if not isinstance(annotation, dict):
            raise KeypointsError("an entry of 'annotations' is no object")
        number = _number(annotation.get("image_id"))
        where = f"image_id {ascii(number)[:40]}"
        if number not in people:
            raise KeypointsError(f"{where} of 'annotations' is not among 'images'")
        people[number].append(person_of(annotation, names, where))
    found = []
    for picture in pictures:
        number, name = _number(picture.get("id")), picture.get("file_name")
        label = name if isinstance(name, str) else number
        found.append(Frame(people[number], own_size(picture), label))
    # Every picture is there: names give the order, none is missing.
    kept = {frame.number: frame for frame in found}
    if len(kept) < len(found):
        return found
    ordered = numbered_frames(list(kept), None, fill=False)
    return [kept[number] for number in ordered if number is not None]


def _number(value: Any) -> Number:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        shown = ascii(value)[:40]
        raise KeypointsError(f"a frame's number or name must be whole or text, got {shown}")
    return value


def _joint_names(json: Mapping[str, Any]) -> tuple[str, ...]:
    """The joints' names in order, where MMPose or COCO states them."""
    meta = json.get("meta_info")
    if isinstance(meta, dict):
        table = meta.get("keypoint_id2name")
        if isinstance(table, dict):
            names = [table.get(str(index)) for index in range(len(table))]
            return _names(names, "meta_info.keypoint_id2name")
    categories = json.get("categories")
    if isinstance(categories, list):
        for category in categories:
            if isinstance(category, dict) and category.get("keypoints"):
                return _names(category["keypoints"], "categories.keypoints")
    return ()


def _names(values: Any, field: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise KeypointsError(f"field '{field}' must hold the joints' names")
    return tuple(values)


def _is_known(entry: Any) -> bool:
    if isinstance(entry, dict):
        return _holds_people(entry) or "keypoints" in entry
    return entry is None or isinstance(entry, list)


def _unknown(json: Any) -> KeypointsError:
    return KeypointsError(f"found {_described(json)}, which is no poses; {_KNOWN}")


def _described(json: Any) -> str:
    if isinstance(json, dict):
        shown = [ascii(key[:30]) for key in list(json)[:5]]
        more = ", ..." if len(json) > 5 else ""
        return f"an object with {', '.join(shown)}{more}" if shown else "an empty object"
    if isinstance(json, list):
        if not json:
            return "an empty list"
        odd = next((entry for entry in json if not _is_known(entry)), json[0])
        return f"a list of {len(json)}, in it {_described(odd)}"
    kinds = {str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(json), "null")
