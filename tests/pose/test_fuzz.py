"""Whatever is done to valid keypoint JSON, the reader gives people or one line, and soon."""

import copy
import json
import time

import numpy as np
import pytest
from pose_files import EXAMPLES

from aa_jax.pose.canvas import Canvas
from aa_jax.pose.keypoints import KeypointsError
from aa_jax.pose.reading import read_poses

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SECONDS = 10
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.sampled_from(["", "0", "12", "-1", "1e400", "320", "\ud800", "people", 10**400, 1e308, -1]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["replace", "remove", "repeat", "wrap", "rename", "scale"]),
        st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def mutated(content, changes):
    """The JSON with things replaced, removed, repeated, wrapped, renamed and scaled inside it."""
    root = [copy.deepcopy(content)]
    for kind, path, value in changes:
        place, key = root, 0
        for step in path:
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            place, key = inner, keys[step % len(keys)]
        if kind == "remove" and place is not root:
            del place[key]
        elif kind == "repeat" and isinstance(place, list) and place is not root:
            place.insert(key, copy.deepcopy(place[key]))
        elif kind == "wrap":
            place[key] = [place[key]] * (1 + path[0] % 3)
        elif kind == "rename" and isinstance(place, dict):
            place[str(value)[:20]] = place.pop(key)
        elif kind == "scale" and isinstance(place[key], float):
            place[key] = place[key] / 320
        else:
            place[key] = value
    return root[0]


@st.composite
def files(draw):
    """Bytes of a mutated file; now and then of one that is no JSON any more."""
    name = draw(st.sampled_from(sorted(EXAMPLES)))
    text = json.dumps(mutated(EXAMPLES[name], draw(CHANGES)))
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=3)) + data[place + draw(st.integers(0, 9)) :]
    return data


def read(data, path):
    path.write_bytes(data)
    start = time.perf_counter()
    lines = []
    try:
        poses = read_poses(
            path, canvas=Canvas(320, 480, "the video's", guessed=True), report=lines.append
        )
    except KeypointsError as error:
        lines.append(str(error))
    else:
        assert np.isfinite(poses.keypoints.body).all()
        assert len(poses.people) == len(poses.keypoints)
    assert time.perf_counter() - start < SECONDS
    for line in lines:
        assert "\n" not in line
        assert str(path) in line
        line.encode()  # can be printed


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_examples_are_valid(name, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(EXAMPLES[name]))
    canvas = Canvas(320, 480, "the video's", guessed=True)
    assert read_poses(path, canvas=canvas).keypoints.body_scores.any()


def fuzz(examples, path):
    @hypothesis.settings(max_examples=examples, deadline=None, database=None)
    @hypothesis.given(files())
    def run(data):
        read(data, path)

    run()


def test_mutations_give_people_or_one_line(tmp_path):
    fuzz(200, tmp_path / "a.json")


@pytest.mark.slow
def test_thousands_of_mutations(tmp_path):
    fuzz(5000, tmp_path / "a.json")


def test_nesting_without_end_is_one_line(tmp_path):
    for opening in (b"[", b'{"people":'):
        with pytest.raises(KeypointsError, match="is not readable JSON"):
            read_poses_of(tmp_path, opening * 200_000)


def read_poses_of(folder, data):
    path = folder / "a.json"
    path.write_bytes(data)
    return read_poses(path)
