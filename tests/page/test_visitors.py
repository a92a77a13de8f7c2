"""Files and jobs go with the visitor who has asked for them."""

import pytest

from aa_jax.page.jobs import Job
from aa_jax.page.visitors import Jobs


@pytest.fixture
def visitors():
    jobs = Jobs()
    yield jobs
    jobs.close()


def make(folder):
    (folder / "animation.mp4").touch()
    return Job([])


def test_a_new_job_takes_the_place_of_the_last_one_on_its_tab(visitors):
    first, old = visitors.begin("a", "generate", make)
    _, other = visitors.begin("a", "poses", make)
    visitors.begin("a", "generate", make)
    assert first.cancelled
    assert not old.exists()
    assert other.exists()


def test_only_the_tabs_own_job_is_cancelled(visitors):
    job, _ = visitors.begin("a", "generate", make)
    assert not visitors.cancel("a", "poses")
    assert not visitors.cancel("b", "generate")
    assert visitors.cancel("a", "generate")
    assert job.cancelled


def test_all_files_go_with_a_visitor(visitors, tmp_path):
    detected = tmp_path / "dance.mp4.poses.npz"
    detected.touch()
    _, mine = visitors.begin("a", "poses", make, str(tmp_path / "dance.mp4"))
    _, others = visitors.begin("b", "poses", make)
    visitors.end("a")
    assert not mine.exists()
    assert not detected.exists()
    assert others.exists()
    visitors.close()
    assert not others.parent.exists()
