import json

import pytest

from aa_jax.experiments import results
from aa_jax.experiments.results import Result, ResultError

RESULT = Result(
    name="ours",
    protocol="disco_fixed",
    clips=2,
    frames=5,
    metrics={"ssim": 0.9, "fvd": None},
    intervals={"ssim": (0.8, 0.95), "fvd": None},
    per_clip=({"name": "a", "frames": 3, "ssim": 0.9},),
    missing={"fvd": "too short"},
    unmatched={"results": ("c",)},
)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(results.dumps(results.as_json(RESULT)))
    assert results.read(path) == (RESULT,)


def test_several_files_tell_their_results_apart(tmp_path):
    for stem in ("a", "ours"):
        (tmp_path / f"{stem}.json").write_text(results.dumps(results.as_json(RESULT)))
    both = json.dumps({"model": {}, "results": [results.as_json(RESULT)] * 2})
    (tmp_path / "both.json").write_text(both)
    found = results.read_all([tmp_path / f"{stem}.json" for stem in ("a", "ours", "both")])
    assert [x.name for x in found] == ["a: ours", "ours", "both: ours", "both: ours"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"ssim": float("nan")}}, r"metrics\.ssim is nan; evaluate that system again"),
        ({"per_clip": [{"name": "a", "ssim": float("inf")}]}, r"per_clip a\.ssim is inf"),
        ({"intervals": {"ssim": [float("nan"), 1]}}, r"intervals\.ssim\.low is nan"),
        ({"metrics": {"ssim": "good"}}, "'good', no number"),
        ({"clips": "2"}, "clips is '2'"),
        ({"format": 9}, "format 9 is later than 1; update aa_jax"),
        ({"format": None}, "holds no results"),
        ({"newer": 1}, "unknown field newer"),
    ],
)
def test_broken_results_are_refused_by_name(changes, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(results.as_json(RESULT) | changes))
    with pytest.raises(ResultError, match=f"{path.name}: .*{message}"):
        results.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no such file"), ("{", "cannot be read as JSON"), ("[]", "holds no results")],
)
def test_other_files_are_refused(text, message, tmp_path):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultError, match=message):
        results.read(path)


def test_figures_that_are_no_numbers_are_never_written():
    with pytest.raises(ResultError, match="NaN or infinite"):
        results.dumps({"ssim": float("nan")})
