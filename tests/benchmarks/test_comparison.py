"""Sides take turns in processes of their own; medians, ratios and failures are right."""

import importlib.util
import time

import pytest

from benchmarks import comparison
from benchmarks.comparison import Side, SideError, Task

SECONDS = {"ours": 0.05, "eager": 0.25}


def make_sleeper(side, log):
    def run():
        with open(log, "a") as file:
            file.write(side[0])
        time.sleep(SECONDS[side])

    return Task(run, flops=4.0)


def make_hoarder(side, mib):
    held = []
    if mib < 0:  # forgotten before the task is first run
        bytearray(-mib * 2**20)

    def run():
        held[:] = [bytearray(max(mib, 0) * 2**20)]

    return Task(run)


def make_failure(side):
    if side == "ours":
        return Task(lambda: None, flops=1.0)
    raise RuntimeError("no C++ compiler\nfound")


def make_search(side):
    return Task(lambda: None, flops=float(importlib.util.find_spec("torch") is not None))


def test_our_side_runs_as_where_pytorch_is_not_installed():
    pytest.importorskip("torch")
    with Side(make_search, "ours", ()) as ours, Side(make_search, "eager", ()) as theirs:
        assert (ours.flops, theirs.flops) == (0, 1)


def test_sides_alternate_after_one_call_each(tmp_path):
    log = tmp_path / "log"
    result = comparison.compare(make_sleeper, (log,), rounds=3, sides=["eager"])
    assert log.read_text() == "oe" + "oe" * 3
    assert result["flops"] == 4
    assert result["ours"]["seconds"] > SECONDS["ours"]
    assert result["eager"]["seconds"] > SECONDS["eager"]
    low, high = result["speedup_over_torch_eager_quartiles"]
    assert 1 < low <= result["speedup_over_torch_eager"] <= high


def test_peaks_belong_to_the_task_and_not_to_its_making():
    def peak(mib):
        with Side(make_hoarder, "ours", (mib,)) as side:
            return side.peak() / 2**20

    idle = peak(0)
    assert peak(200) == pytest.approx(idle + 200, abs=20)
    assert peak(-200) == pytest.approx(idle, abs=20)


def test_a_side_that_cannot_compute_says_why_in_one_line():
    result = comparison.compare(make_failure, (), rounds=1, sides=["compile"])
    assert result["compile"] == {"error": "RuntimeError: no C++ compiler found"}
    assert result["speedup_over_torch_compile"] is None


def test_a_second_process_is_not_started_where_it_does_not_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "free_memory", lambda: 2**20)
    log = tmp_path / "log"
    result = comparison.compare(make_sleeper, (log,), rounds=1, sides=["eager"])
    assert result["eager"]["error"].startswith("0.0 GiB of memory are free, but aa_jax took")
    assert log.read_text() == "o"


def test_our_own_failure_is_no_result():
    with pytest.raises(SideError, match="FileNotFoundError"):
        comparison.compare(make_sleeper, ("",), rounds=1, sides=["eager"])
