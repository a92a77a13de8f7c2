"""What C++ gains is measured over whole steps, each part left out in turn."""

import json
import re

import pytest
from native_code import needs_compiler

from aa_jax import runtime
from benchmarks import native


def test_ratios_are_those_of_neighbouring_rounds():
    seconds = {"all": [1.0, 2.0, 4.0], "without attention": [2.0, 3.0, 4.0]}
    assert native.ratios(seconds, "without attention") == [2.0, 1.5, 1.0]


def test_no_rounds_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        native.main(["--rounds=0"])
    assert stopped.value.code == 2
    assert "must be a whole number from 1 up, got 0" in capsys.readouterr().err


@needs_compiler
@pytest.mark.parametrize("piece", ["decode", pytest.param("stage1", marks=pytest.mark.slow)])
def test_a_piece_is_a_row_of_every_side(piece, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtime, "prepare", lambda: None)
    flags = ["--workload=tiny", f"--pieces={piece}", "--rounds=1", f"--json={tmp_path / 'a.json'}"]
    assert native.main(flags) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == "|  | all, s | without attention | without convolution | without any |"
    ratio = r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)"
    assert re.fullmatch(rf"\| {piece} \| \d+\.\d+( \| {ratio}){{3}} \|", row)
    assert set(json.loads((tmp_path / "a.json").read_text())[piece]) == set(native.SIDES)
