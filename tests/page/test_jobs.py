"""A job is `sample.py` in a process of its own: told as it goes, ended at any moment."""

import threading

import pytest

from aa_jax.page import jobs
from aa_jax.page.jobs import Job


def test_a_mistake_is_a_sentence():
    job = Job(["--frames=none"])
    assert list(job.run({})) == job.lines
    assert job.code == 2
    assert job.error.startswith("argument --frames: must be a whole number, got 'none'")


def test_names_stand_for_paths(tmp_path):
    job = Job([f"--inspect={tmp_path}/up/me.png"])
    list(job.run({f"{tmp_path}/up/": ""}))
    assert (job.code, job.error) == (1, "me.png: no such file")


def test_paths_are_those_of_the_page(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.txt").write_text("no picture")
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    job = Job(["--inspect=me.txt"])
    list(job.run({}))
    assert job.code == 1
    assert job.error.startswith("me.txt: ")
    assert "no such file" not in job.error


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.setattr(
        jobs,
        "_CODE",
        "import time\nprint('[  0.1 s] denoising', flush=True)\nwhile True: time.sleep(0.1)",
    )


def test_it_can_be_cancelled_while_it_runs(endless):
    job = Job([])
    for line in job.run({}):
        if line == "denoising":
            threading.Thread(target=job.cancel).start()
    assert job.code
    assert job.error == "cancelled"


def test_it_can_be_cancelled_before_it_begins(endless):
    job = Job([])
    job.cancel()
    assert list(job.run({})) == []
    assert job.error == "cancelled"


def test_it_ends_with_whoever_listens(endless):
    job = Job([])
    said = job.run({})
    next(said)
    said.close()
    assert job.code


def test_a_process_that_the_system_ends_is_told(monkeypatch):
    monkeypatch.setattr(jobs, "_CODE", "import os; os.kill(os.getpid(), 9)")
    job = Job([])
    list(job.run({}))
    assert "ended by the system (SIGKILL)" in job.error
