"""The accelerator's benchmark runs anywhere on tiny networks, and its tables say what they mean."""

import json

import pytest

from aa_jax.kernels.cpu.native import library
from benchmarks import gpu
from benchmarks.workloads import WORKLOADS


@pytest.mark.slow
def test_every_part_gives_figures(tmp_path):
    path = tmp_path / "figures.json"

    assert gpu.main(["--workload", "tiny", "--minutes", "60", "--json", str(path)]) == 0

    figures = json.loads(path.read_text())
    native = [] if library.obstacle() else ["native"]
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


def test_levels_are_stable_diffusions():
    found = gpu.levels(WORKLOADS["gpu"], 512)

    assert found == [(4096, 40), (1024, 80), (256, 160), (64, 160)]


def test_time_counts_for_the_layer_that_an_instruction_came_from():
    program = """
      %fusion.1 = f32[2]{0} fusion(%p), metadata={op_name="jit(step)/attentions_0/attn1/mul"}
      ROOT %dot.2 = f32[2]{0} dot(%p, %p), metadata={op_type="d" op_name="x/motion_modules_0/norm"}
      %copy.3 = f32[2]{0} copy(%p)
    """
    operations = [("fusion.1", 5.0), ("dot.2", 2.0), ("copy.3", 1.0), ("fusion.1", 5.0)]

    spent = gpu.time_by_kind(operations, gpu.operation_names(program))

    assert spent == {"self- and reference attention": 10.0, "motion modules": 2.0, "others": 1.0}


def test_tables_have_the_columns_of_all_rows():
    rows = [{"kernel": "xla", "share": 0.5}, {"kernel": "cudnn", "error": "out of memory"}]

    assert gpu.table(rows, markdown=True).splitlines() == [
        "| kernel | share | error |",
        "| --- | --- | --- |",
        "| xla | 50.0% | - |",
        "| cudnn | - | out of memory |",
    ]
