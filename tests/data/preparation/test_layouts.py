import numpy as np
import pytest
from PIL import Image

from aa_jax.data.preparation.layouts import PrepareError, find_sources, picture_files


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(finding, split="train"):
    return [source.name for source in finding.sources if source.split == split]


def test_any_names_at_any_depth_in_order(tmp_path):
    touch(tmp_path, "b.mp4", "a #1.MOV", "deep/er/x + y.webm", "ümlaut.mkv")
    found = find_sources("folder", tmp_path)
    assert names(found) == ["a #1.MOV", "b.mp4", "deep/er/x + y.webm", "ümlaut.mkv"]
    assert [s.stem for s in found.sources] == ["a #1", "b", "deep/er/x + y", "ümlaut"]
    assert not found.others


def test_what_is_no_video_is_named_with_the_reason(tmp_path):
    touch(tmp_path, "a.mp4", "notes.txt", "._a.mp4", "clip", "sub/b.mp4")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    found = find_sources("folder", tmp_path)
    assert names(found) == ["a.mp4", "sub/b.mp4"]
    causes = dict(found.others)
    assert causes.keys() == {"notes.txt", "._a.mp4", "clip", "sub/up", "self.mp4", "gone.mp4"}
    assert causes["notes.txt"] == "no video by its name (suffix .txt)"
    assert causes["sub/up"] == "a link to a folder that is already read"
    assert causes["self.mp4"].startswith("cannot be read (Too many levels of symbolic links")
    assert causes["gone.mp4"] == "cannot be read (No such file or directory)"


def test_the_output_among_the_videos_is_not_read(tmp_path):
    touch(tmp_path, "a.mp4", "DATA/cache/b.mp4")
    assert names(find_sources("folder", tmp_path, exclude=[tmp_path / "DATA"])) == ["a.mp4"]


def test_keypoints_may_lie_beside_their_videos(tmp_path):
    touch(tmp_path, "a.mp4", "a.json")
    assert names(find_sources("folder", tmp_path, exclude=[tmp_path])) == ["a.mp4"]


def test_videos_are_held_out_by_their_names_alone(tmp_path):
    touch(tmp_path, *(f"{i:03d}.mp4" for i in range(200)))
    test = names(find_sources("folder", tmp_path, held_out=0.2), "test")
    assert 25 < len(test) < 55
    (tmp_path / "000.mp4").unlink()
    again = names(find_sources("folder", tmp_path, held_out=0.2), "test")
    assert set(again) == set(test) - {"000.mp4"}


@pytest.mark.parametrize("layout", ["ubc_fashion", "ted_talks"])
def test_train_and_test_folders(tmp_path, layout):
    touch(tmp_path, "train/a.mp4", "train/id1/b.mp4")
    with pytest.raises(PrepareError, match="has no folder test;"):
        find_sources(layout, tmp_path)
    touch(tmp_path, "test/a.mp4")
    found = find_sources(layout, tmp_path)
    assert names(found) == ["train/a.mp4", "train/id1/b.mp4"]
    assert names(found, "test") == ["test/a.mp4"]


def write_frames(folder, count=2):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"{i:04d}.png")


def test_tiktok_holds_out_335_to_339_or_a_list(tmp_path):
    for name in ("00001", "00334", "00335", "00339"):
        write_frames(tmp_path / name / "images")
        write_frames(tmp_path / name / "masks")
    write_frames(tmp_path / "00340")
    (tmp_path / "empty").mkdir()
    found = find_sources("tiktok", tmp_path)
    assert names(found) == ["00001", "00334", "00340"]
    assert names(found, "test") == ["00335", "00339"]
    assert found.sources[1].path == tmp_path / "00339" / "images"
    assert found.others == (("empty", "no folder of pictures"),)
    assert names(find_sources("tiktok", tmp_path, test_names=["00001"]), "test") == ["00001"]


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(PrepareError, match="no such folder"):
        find_sources("folder", tmp_path / "none")
    with pytest.raises(PrepareError, match="holds no videos of the layout folder"):
        find_sources("folder", tmp_path)


def test_frames_come_in_natural_order_without_hidden_files(tmp_path):
    for name in ("1.png", "2.png", "10.PNG", "._1.png", ".3.png"):
        (tmp_path / name).touch()
    found = [path.name for path in picture_files(tmp_path)]
    assert found == ["1.png", "2.png", "10.PNG"]
