"""Sides take turns in processes of their own; medians, ratios, failures and tables are right."""

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


def test_the_table_states_what_was_measured():
    row = {
        "ours": {"seconds": 2.0, "first_call_s": 9.0, "peak_mib": 100.0},
        "eager": {"seconds": 3.0, "first_call_s": 3.0, "peak_mib": 200.4},
        "compile": {"error": "no compiler"},
        "speedup_over_torch_eager": 1.5,
        "speedup_over_torch_eager_quartiles": (1.42, 1.61),
        "speedup_over_torch_compile": None,
        "flops": 1e12,
    }
    head, _, line = comparison.table({"step": row}, rate=1e12).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["speedup over PyTorch eager"] == "1.50 (1.42 to 1.61)"
    assert cells["speedup over torch.compile"] == cells["torch.compile, s"] == "-"
    assert cells["peak MiB, PyTorch eager"] == "200"
    assert line.endswith("| 1 | 50% |")


def test_a_table_replaces_only_what_is_between_its_markers():
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n"
    replaced = comparison.between(page, "x", "new")
    assert replaced == page.replace("old", "new")
    assert comparison.between(replaced, "x", "new") == replaced
    with pytest.raises(ValueError, match="markers of z"):
        comparison.between(page, "z", "new")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--workload=tiny", "--markdown"], "no table of the workload tiny"),
        (["--rounds=0"], "must be a whole number from 1 up, got 0"),
        (["--workload=huge"], "invalid choice: 'huge'"),
        (["--workload=gpu", "--sizes=512", "--sizes=9"], "workload gpu has 512, 768, not 9"),
    ],
)
def test_wrong_flags_are_told_in_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        comparison.parse(comparison.parser("what it does"), argv)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_page_has_a_place_for_every_table():
    page = (comparison.ROOT / "docs" / "performance.md").read_text()
    for name in ("sampling cpu", "sampling gpu", "training cpu", "training gpu"):
        assert "| a |" in comparison.between(page, name, "| a |")
