import os
import stat

import pytest

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


def test_names_that_cannot_be_printed_are_made_readable():
    assert files.readable("caf\udce9/über \n.mp4") == r"caf\xe9/über \n.mp4"


def test_a_long_name_can_be_replaced(tmp_path):
    path = tmp_path / ("ü" * 125 + ".mp4")  # 254 bytes
    files.check_writable(path)
    files.write_text(path, "whole")
    assert path.read_text() == "whole"
