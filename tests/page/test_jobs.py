"""A job is `sample.py` in a process of its own: told as it goes, ended at any moment."""

import threading

import pytest

from aa_jax.page import jobs
from aa_jax.page.jobs import Job


def test_a_mistake_is_a_sentence(tmp_path):
    job = Job(["--frames=none"], tmp_path)
    assert list(job.run({})) == job.lines
    assert job.code == 2
    assert job.error.startswith("argument --frames: must be a whole number, got 'none'")


def test_names_stand_for_paths(tmp_path):
    job = Job([f"--inspect={tmp_path}/up/me.png"], tmp_path)
    list(job.run({f"{tmp_path}/up/": ""}))
    assert (job.code, job.error) == (1, "me.png: no such file")


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.setattr(
        jobs,
        "_CODE",
        "import time\nprint('[  0.1 s] denoising', flush=True)\nwhile True: time.sleep(0.1)",
    )


def test_it_can_be_cancelled_while_it_runs(endless, tmp_path):
    job = Job([], tmp_path)
    for line in job.run({}):
        if line == "denoising":
            threading.Thread(target=job.cancel).start()
    assert job.code
    assert job.error == "cancelled"


def test_it_can_be_cancelled_before_it_begins(endless, tmp_path):
    job = Job([], tmp_path)
    job.cancel()
    assert list(job.run({})) == []
    assert job.error == "cancelled"


def test_it_ends_with_whoever_listens(endless, tmp_path):
    job = Job([], tmp_path)
    said = job.run({})
    next(said)
    said.close()
    assert job.code


def test_a_process_that_the_system_ends_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "_CODE", "import os; os.kill(os.getpid(), 9)")
    job = Job([], tmp_path)
    list(job.run({}))
    assert "ended by the system (SIGKILL)" in job.error
