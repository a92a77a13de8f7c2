"""A dataset's report, as the page shows it."""

import json

import pytest

from aa_jax.page import datasets


def test_a_folder_without_a_report(tmp_path):
    with pytest.raises(datasets.DatasetError, match=r"no such file; prepare.py --output"):
        datasets.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"videos": [{}], "others": []}', '{"videos": 3}'])
def test_other_files_of_that_name(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(datasets.DatasetError, match=r"no report of prepare.py"):
        datasets.read(tmp_path)


def test_a_row_per_video_and_per_file_passed_over(tmp_path):
    video = {
        "split": "train", "name": "a.mp4", "status": "broken", "cause": "is empty",
        "notes": ["turned"], "guesses": ["a size"],
    }  # fmt: skip
    other = {"name": "b.txt", "cause": "no video"}
    (tmp_path / "report.json").write_text(json.dumps({"videos": [video], "others": [other]}))
    summary, rows = datasets.read(tmp_path)
    assert summary == "1 videos: 0 kept, 0 left out, 1 broken."
    assert rows[0] == ["train", "a.mp4", "broken", "is empty", "turned; a size"]
    assert rows[1] == ["", "b.txt", "no video", "no video", ""]
