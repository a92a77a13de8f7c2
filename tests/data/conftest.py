"""Datasets of a few puppet videos, prepared once for all tests that read them."""

import pytest
from puppet_videos import good, prepare

SHAPES = {  # by name, in the order of the dataset
    "a.mp4": {"width": 64, "height": 64},
    "b #1.mkv": {"width": 96, "height": 64, "frames": 30},
    "deep/c+d.avi": {"width": 64, "height": 96, "frames": 26},
}


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory):
    """Folders `videos` and `poses`."""
    folder = tmp_path_factory.mktemp("folder")
    for index, (name, shape) in enumerate(SHAPES.items()):
        good(folder / "videos", folder / "poses", name, index, **shape)
    return folder


@pytest.fixture(scope="session")
def jpeg_dataset(video_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("jpeg")
    assert prepare(video_folder, output) == 0
    return output


@pytest.fixture(scope="session")
def mp4_dataset(video_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("mp4")
    assert prepare(video_folder, output, "--storage", "mp4") == 0
    return output
