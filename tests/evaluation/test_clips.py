import pytest
from puppet_videos import encode
from small_clips import moving, write_frames

from aa_jax.evaluation import clips as lib
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.media.pictures import PictureError


def test_videos_and_folders_of_frames_match_by_name_whatever_they_are(tmp_path):
    write_frames(tmp_path / "true" / "walk" / "images", moving())
    write_frames(tmp_path / "true" / "test" / "10", moving())
    write_frames(tmp_path / "true" / "alone", moving())
    encode(tmp_path / "made" / "walk.mp4", moving())
    encode(tmp_path / "made" / "test" / "10.gif", moving())
    encode(tmp_path / "made" / "more.mkv", moving())
    found = lib.match(tmp_path / "made", tmp_path / "true")
    assert [pair.name for pair in found.pairs] == ["test/10", "walk"]
    assert (found.results, found.targets) == (("more",), ("alone",))
    for pair in found.pairs:
        assert pair.result.measure() == pair.target.measure() == (2, (96, 96))
        assert len(list(pair.result.frames())) == 2


def test_pictures_in_the_folder_itself_are_one_clip_unless_there_are_others(tmp_path):
    write_frames(tmp_path, moving())
    assert list(lib.find(tmp_path, "--results")) == [lib.WHOLE_FOLDER]
    write_frames(tmp_path / "a", moving())
    assert list(lib.find(tmp_path, "--results")) == ["a"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "holds no video and no folder of pictures"),
        (["a/0.png", "a.gif"], "a and a.gif are both the clip a"),
        (["c/0.png"], r"\(c\) is named like one of --targets .* \(a\)"),
    ],
)
def test_what_does_not_match_is_told(made, message, tmp_path):
    write_frames(tmp_path / "true" / "a", moving(1))
    (tmp_path / "made").mkdir()
    for name in made:
        path = tmp_path / "made" / name
        if path.suffix == ".png":
            write_frames(path.parent, moving(1))
        else:
            path.write_bytes(b"")
    with pytest.raises(EvaluationError, match=message):
        lib.match(tmp_path / "made", tmp_path / "true")


def test_frames_of_several_sizes_are_refused(tmp_path):
    write_frames(tmp_path / "a", moving(1))
    write_frames(tmp_path / "a" / "b", moving(1, side=48))
    (tmp_path / "a" / "b" / "0000.png").rename(tmp_path / "a" / "0001.png")
    with pytest.raises(PictureError, match=r"0001.png: has another size \(48x48\)"):
        list(lib.Clip("a", tmp_path / "a").frames())
