"""Flags of the benchmarks against PyTorch are checked, and tables state what was measured."""

import pytest

from benchmarks import reporting


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
    head, _, line = reporting.table({"step": row}, rate=1e12).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["speedup over PyTorch eager"] == "1.50 (1.42 to 1.61)"
    assert cells["speedup over torch.compile"] == cells["torch.compile, s"] == "-"
    assert cells["peak MiB, PyTorch eager"] == "200"
    assert line.endswith("| 1 | 50% |")


def test_a_table_replaces_only_what_is_between_its_markers():
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n"
    replaced = reporting.between(page, "x", "new")
    assert replaced == page.replace("old", "new")
    assert reporting.between(replaced, "x", "new") == replaced
    with pytest.raises(ValueError, match="markers of z"):
        reporting.between(page, "z", "new")


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
        reporting.parse(reporting.parser("what it does"), argv)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_page_has_a_place_for_every_table():
    page = (reporting.ROOT / "docs" / "performance.md").read_text()
    for name in ("sampling cpu", "sampling gpu", "training cpu", "training gpu"):
        assert "| a |" in reporting.between(page, name, "| a |")
