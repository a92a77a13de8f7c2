"""Damaged videos of every container give frames or one line, and soon."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from video_files import encode, numbered

from aa_jax.media.video import VideoError, read_video, scan_video

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

MOST_SECONDS = 10
NAMES = ("a.mp4", "a.webm", "a.gif", "a.mkv", "a.avi", "a.mov", "a.ts")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Valid files: small, of several containers and codecs."""
    folder = tmp_path_factory.mktemp("seeds")
    return [encode(folder / name, numbered(8, 32, 32)).read_bytes() for name in NAMES]


NUMBERS = [0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1]


@st.composite
def mutations(draw):
    """A seed's number and what to do to it, each at a share of its length."""
    place = st.one_of(st.floats(0, 0.1), st.floats(0, 1))
    change = st.one_of(
        st.tuples(st.just("set"), place, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("number"), place, st.sampled_from(NUMBERS)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("delete"), place, st.integers(1, 64)),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(st.just("repeat"), place, st.integers(1, 64)),
    )
    return draw(st.integers(0, len(NAMES) - 1)), draw(st.lists(change, min_size=1, max_size=6))


def mutated(data, changes):
    data = bytearray(data)
    for kind, share, value in changes:
        place = int(share * len(data))
        if kind == "set":
            data[place : place + len(value)] = value
        elif kind == "number":
            size = 4 if value > 65535 else 2 if value > 255 else 1
            data[place : place + size] = value.to_bytes(size, "big")
        elif kind == "insert":
            data[place:place] = value
        elif kind == "delete":
            del data[place : place + value]
        elif kind == "cut":
            del data[place:]
        else:
            data[place:place] = data[place : place + value]
    return bytes(data)


def read(path):
    """Frames and rate, or why there are none."""
    try:
        return *read_video(path), ""
    except VideoError as error:
        return None, None, str(error)


def check(seeds, mutation):
    index, changes = mutation
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES[index]
        path.write_bytes(mutated(seeds[index], changes))
        start = time.perf_counter()
        frames, fps, line = read(path)
        if line:
            assert line.startswith(f"{path}: ")
            assert "\n" not in line
        else:
            assert frames.dtype == np.uint8
            assert frames.shape[3] == 3
            assert len(frames)
            assert np.isfinite(fps)
            assert fps > 0
            assert scan_video(path).fps == fps
        assert time.perf_counter() - start < MOST_SECONDS


SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": [hypothesis.HealthCheck.function_scoped_fixture],
}


@hypothesis.settings(max_examples=200, **SETTINGS)
@hypothesis.given(mutation=mutations())
def test_damaged_videos(seeds, mutation):
    check(seeds, mutation)


@pytest.mark.slow
@hypothesis.settings(max_examples=5000, **{**SETTINGS, "derandomize": False})
@hypothesis.given(mutation=mutations())
def test_many_damaged_videos(seeds, mutation):
    check(seeds, mutation)
