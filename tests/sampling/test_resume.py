"""The state of an unfinished video is whole, and of the same settings, or refused in one line."""

import dataclasses

import numpy as np
import pytest

from aa_jax.diffusion.samplers import State
from aa_jax.sampling.resume import ResumeError, StateFile, digest

HISTORY = tuple(np.random.default_rng(1).standard_normal((2, 3, 2, 2, 4)).astype(np.float32))
LATENTS = np.random.default_rng(0).standard_normal((3, 2, 2, 4)).astype(np.float32)


@pytest.fixture
def state(tmp_path):
    return StateFile.beside(tmp_path / "a.mp4", {"steps": 4, "size": (8, 8)}, resume=True)


def test_what_was_saved_is_loaded(state, tmp_path):
    assert state.load() is None
    state.save(1, State(LATENTS))
    assert state.load()[1].history == ()
    state.save(2, State(LATENTS, HISTORY))
    done, loaded = state.load()
    assert done == 2
    np.testing.assert_array_equal(loaded.latents, LATENTS)
    np.testing.assert_array_equal(loaded.history, HISTORY)
    assert [path.name for path in tmp_path.iterdir()] == [".a.mp4.unfinished.npz"]
    state.remove()
    assert not list(tmp_path.iterdir())
    state.remove()  # nothing to do


def test_without_resume_a_state_is_only_written(state):
    state.save(1, State(LATENTS))
    assert dataclasses.replace(state, resume=False).load() is None


def test_state_of_other_settings_is_refused(state):
    state.save(1, State(LATENTS))
    other = dataclasses.replace(state, settings={"steps": 5, "size": (8, 8)})
    with pytest.raises(ResumeError, match=r"a\.mp4.* was made with steps=4, not 5"):
        other.load()


def test_broken_state_is_refused(state):
    state.save(1, State(LATENTS))
    state.path.write_bytes(state.path.read_bytes()[:-200])
    with pytest.raises(ResumeError, match=r"cannot be read .* without --resume"):
        state.load()


def test_failed_write_leaves_the_last_state(state, monkeypatch):
    state.save(1, State(LATENTS))

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        state.save(2, State(LATENTS))
    assert state.load()[0] == 1
    assert len(list(state.path.parent.iterdir())) == 1


def test_digest_names_content(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert digest([tmp_path / "a", LATENTS]) == digest([tmp_path / "b", LATENTS])
    assert digest([LATENTS]) != digest([LATENTS + 1])
