import os
import re
import stat
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import aa_jax
import convert
from aa_jax import files


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a b.tar.txt"
    with files.replacing_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
    assert path.read_text() == "half"
    assert names(tmp_path) == ["a b.tar.txt", "new"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "half \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "a.txt"
    with files.replacing_file(path) as one, files.replacing_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to end
    assert names(tmp_path) == ["a.txt"]


def test_files_get_the_rights_that_new_files_get(tmp_path):
    files.write_text(tmp_path / "a.txt", "")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("a.txt", "plain")]
    assert modes[0] == modes[1]


def test_a_writable_place_is_left_as_it_was(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    files.check_writable(tmp_path / "a.txt")
    files.check_writable(tmp_path / "new" / "b.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt", "new"]


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError):
        files.check_writable(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"file/a\.txt"):
        files.check_writable(tmp_path / "file" / "a.txt")


def test_a_folder_takes_anothers_place_only_when_it_is_whole(tmp_path):
    folder = tmp_path / "folder"
    for text in ("old", "new"):
        with files.replacing(folder) as part:
            (part / "a.txt").write_text(text)
    with pytest.raises(UnicodeEncodeError), files.replacing(folder) as part:
        (part / "a.txt").write_text("half \ud800")
    assert (folder / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt", "folder"]


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


def test_numbered_files_come_in_the_order_people_count(tmp_path):
    names = ["0.png", "1.png", "2.png", "9.png", "10.png", "11.png", "100.png"]
    folder = folder_of(tmp_path, *sorted(names, reverse=True))
    assert [path.name for path in files.numbered(folder, [".png"])] == names


@pytest.mark.parametrize(
    "names",
    [
        ["a1_2.png", "a1_10.png", "a2_1.png"],  # several numbers
        ["walk.png", "walk (2).png", "walk (10).png"],  # copies: the suffix takes no part
        ["Frame_1.PNG", "frame_2.png", "FRAME_10.Png"],  # any case
        ["f1.jpg", "f2.png", "f3.jpg"],  # mixed kinds
        ["f01.png", "f1.png", "f2.png"],  # equal numbers: by name
        ["take 9.5.png", "take 9.10.png"],  # a dot is no decimal point
        ["1.png", "a.png"],
    ],
)
def test_orders_of_numbered_files(tmp_path, names):
    folder = folder_of(tmp_path, *sorted(names, reverse=True))
    assert [path.name for path in files.numbered(folder, {".png", ".jpg"})] == names


def test_hidden_files_folders_and_other_kinds_are_no_numbered_files(tmp_path):
    folder = folder_of(tmp_path, "1.png", "._1.png", ".2.png", "3.txt", "4.png.part", "Thumbs.db")
    (folder / "5.png").mkdir()
    assert [path.name for path in files.numbered(folder, [".png"])] == ["1.png"]


def test_a_numbered_link_into_nothing_is_named_not_passed_over(tmp_path):
    (tmp_path / "1.png").symlink_to("nowhere")
    assert [path.name for path in files.numbered(tmp_path, [".png"])] == ["1.png"]


def test_suffixes_may_be_ends_of_names(tmp_path):
    folder = folder_of(tmp_path, "a_10_keypoints.json", "a_9_keypoints.json", "a.json")
    found = [path.name for path in files.numbered(folder, ["_keypoints.json"])]
    assert found == ["a_9_keypoints.json", "a_10_keypoints.json"]


def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"frame\xff_2.png")
    folder = folder_of(tmp_path, "frame_1.png", name)
    assert {path.name for path in files.numbered(folder, [".png"])} == {"frame_1.png", name}


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_arrays_are_written_as_they_read_however_they_lie_in_memory(tmp_path, dtype):
    """safetensors 0.8.0 writes the bytes of all but the first and the last as they lie."""
    x = np.arange(24).astype(dtype).reshape(4, 6)
    arrays = {
        "rows": x,
        "turned": x.T,
        "fortran": np.asfortranarray(x),
        "strided": x[:, ::2],
        "backwards": x[::-1, ::-1],
        "repeated": np.broadcast_to(x[:1], (4, 6)),
        "axes": np.moveaxis(x.reshape(2, 2, 6), 0, -1),
        "scalar": np.asarray(dtype(3)),
    }
    files.save_arrays(tmp_path / "new" / "a.safetensors", arrays)
    found = load_file(tmp_path / "new" / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(found[name], array, name)
    assert names(tmp_path) == ["a.safetensors", "new"]


def test_all_arrays_are_written_in_one_place():
    folders = [Path(package.__file__).parent for package in (aa_jax, convert)]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    calling = [path.name for path in sources if re.search(r"save_file\b", path.read_text())]
    assert calling == ["files.py"]


def test_names_that_cannot_be_printed_are_made_readable():
    assert files.readable("caf\udce9/über \n.mp4") == r"caf\xe9/über \n.mp4"


def test_a_long_name_can_be_replaced(tmp_path):
    path = tmp_path / ("ü" * 125 + ".mp4")  # 254 bytes
    files.check_writable(path)
    files.write_text(path, "whole")
    assert path.read_text() == "whole"
