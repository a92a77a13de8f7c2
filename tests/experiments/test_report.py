import dataclasses
import importlib.util
import json
import re

import numpy as np
import pytest

from aa_jax.config import ConfigError
from aa_jax.experiments import report
from aa_jax.experiments.report import page, tables
from aa_jax.experiments.results import Result

GOOD = Result(
    name="good <b> $x$",
    protocol="disco_fixed",
    dataset="tiktok",
    clips=2,
    frames=5,
    metrics={"psnr": 25.0, "lpips_alex": 0.1, "fid": None},
    intervals={"psnr": (24.0, 26.0), "lpips_alex": (0.05, 0.15), "fid": None},
    per_clip=(
        {"name": "a", "frames": 3, "psnr": 24.0, "lpips_alex": 0.15},
        {"name": "b", "frames": 2, "psnr": 26.0, "lpips_alex": 0.05},
    ),
    missing={"fid": "no weights here"},
)
BETTER = dataclasses.replace(GOOD, name="better", metrics=GOOD.metrics | {"psnr": 27.0})
FEWER = dataclasses.replace(GOOD, name="fewer", clips=1)
OTHER = dataclasses.replace(GOOD, name="other", protocol="disco")

needs_page = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in page.LIBRARIES),
    reason="needs the extra `metrics`",
)


def written(path, results, sheets=()):
    report.check(path)
    report.write(path, results, sheets)
    return path.read_text(encoding="utf-8")


def test_results_that_may_not_be_compared_are_in_tables_of_their_own():
    groups = tables.grouped([GOOD, FEWER, OTHER, BETTER])
    assert [[x.name for x in group.results] for group in groups] == [
        ["good <b> $x$", "better"], ["fewer"], ["other"],
    ]  # fmt: skip
    clips, protocol = tables.not_compared(groups)
    assert "another set of clips" in clips
    assert "another protocol" in protocol


def test_rows_of_one_name_are_told_apart():
    names = [result.name for result in tables.told_apart([OTHER, OTHER, GOOD, OTHER])]
    assert names == ["other", "other (2)", GOOD.name, "other (3)"]


def test_markdown_has_figures_with_intervals_and_the_paper_s_rows(tmp_path):
    text = written(tmp_path / "a.md", [GOOD, BETTER])
    assert "| better | **27.00** (24.00 to 26.00) | 0.1000 (0.0500 to 0.1500) | - |" in text
    assert "good &lt;b&gt;" in text
    assert "- fid is missing (good &lt;b&gt; $x$, better): no weights here." in text
    assert "<b>" not in text
    assert "| DisCo | 0.668 | 29.03 | 0.292 | 292.8 |" in text
    assert "MRAA | 0.749" not in text  # of another dataset


def test_json_keeps_all_and_says_what_may_not_be_compared(tmp_path):
    found = json.loads(written(tmp_path / "a.json", [GOOD, OTHER]))
    assert found["tables"] == [["good <b> $x$"], ["other"]]
    assert len(found["not_compared"]) == 1
    assert found["results"][0]["metrics"] == GOOD.metrics


@needs_page
def test_a_page_needs_nothing_else(tmp_path):
    sheet = report.Sheet("worst <clip>", np.zeros((20, 30, 3), np.uint8))
    text = written(tmp_path / "a.html", [GOOD, BETTER, OTHER], [sheet])
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', text)
    assert {source.split(";")[0] for source in sources} == {"data:image/svg+xml", "data:image/png"}
    assert len(sources) == 2 * 2 + 1  # two metrics of clips, two tables, a sheet
    assert "good &lt;b&gt; $x$" in text
    assert "worst &lt;clip&gt;" in text
    assert "24.00 to 26.00" in text
    assert "What may not be compared" in text
    assert text == written(tmp_path / "b.html", [GOOD, BETTER, OTHER], [sheet])


def test_a_report_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.html, \.md, \.json"):
        report.check(tmp_path / "a.pdf")


def test_a_page_without_its_libraries_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'aa_jax\[metrics\]'"):
        report.check(tmp_path / "a.html")
    report.check(tmp_path / "a.md")
