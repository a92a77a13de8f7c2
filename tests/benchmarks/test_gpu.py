"""The accelerator's benchmark runs anywhere on tiny networks, and its tables say what they mean."""

import json

import pytest
from native_code import OBSTACLE

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_gives_figures(tmp_path):
    path = tmp_path / "figures.json"

    assert gpu.main(["--workload", "tiny", "--minutes", "60", "--json", str(path)]) == 0

    figures = json.loads(path.read_text())
    native = [] if OBSTACLE else ["native"]
    assert figures["left_out"] == []
    assert {row["kernel"] for row in figures["attention"]} == {"xla", "by_head", *native}
    for row in figures["attention"]:
        assert row["forward error"] < 2**-7  # bfloat16
        assert row["gradient error"] < 2**-7
    assert [row["steps"] for row in figures["sampling"]] == [1, 2]
    assert figures["sampling"][1]["TFLOP"] == 2 * figures["sampling"][0]["TFLOP"]
    assert [row["stage"] for row in figures["training"]] == ["stage1", "stage2"]
    for row in figures["sampling"] + figures["training"]:
        assert 0 < row["utilisation"] < 1
    assert len(figures["profile"]) == 3
    assert figures["profile"][0]["share"] >= figures["profile"][2]["share"] > 0


def test_parts_that_would_begin_too_late_are_named(capsys, tmp_path):
    path = tmp_path / "figures.json"

    assert gpu.main(["--workload", "tiny", "--minutes", "0", "--json", str(path)]) == 0

    assert json.loads(path.read_text())["left_out"] == list(gpu.PARTS)
    assert "left out after 0.0 minutes: chip, attention" in capsys.readouterr().out


def test_an_unknown_part_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--parts", "colour"])

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_tables_have_the_columns_of_all_rows():
    rows = [{"kernel": "xla", "share": 0.5}, {"kernel": "cudnn", "error": "out of memory"}]

    assert gpu.table(rows, markdown=True).splitlines() == [
        "| kernel | share | error |",
        "| --- | --- | --- |",
        "| xla | 50.0% | - |",
        "| cudnn | - | out of memory |",
    ]
