"""Every kind of pose source gives skeleton pictures of the size asked for."""

import json

import numpy as np
import pytest
from PIL import Image
from video_files import EIGHT, set_matrix

from aa_jax.config import SkeletonConfig
from aa_jax.media.pictures import PictureError
from aa_jax.media.video import read_video, write_video
from aa_jax.pose.drawing import draw_keypoints
from aa_jax.pose.keypoints import Keypoints
from aa_jax.sampling.poses import FOLDER_FPS, PosesError, load_skeletons

STYLE = SkeletonConfig(size=64)


@pytest.fixture
def keypoints():
    body = np.random.default_rng(0).uniform(8, 56, (5, 18, 2))
    return Keypoints(body=body, body_scores=np.ones((5, 18)), width=64, height=64, fps=12)


def load(path, max_frames=None, width=64, height=64, **settings):
    size = {"width": width, "height": height}
    return load_skeletons(path, **size, style=STYLE, max_frames=max_frames, **settings)


def test_keypoints_are_drawn(tmp_path, keypoints):
    keypoints.save(tmp_path / "a.npz")
    skeletons, fps, aspect = load(tmp_path / "a.npz")
    expected = draw_keypoints(keypoints, 64, 64, STYLE)
    assert (fps, aspect) == (12, 1)
    assert skeletons.shape == expected.shape
    assert load(tmp_path / "a.npz", max_frames=2)[0].shape == (2, 64, 64, 3)
    # they are indexed as the array of all pictures would be
    for frames in (slice(None), slice(1, 3), np.array([4, 0]), np.array([[0, 1], [3, 3]])):
        np.testing.assert_array_equal(skeletons[frames], expected[frames])


@pytest.mark.parametrize("folder", [False, True])
def test_openpose_json_is_drawn(tmp_path, keypoints, folder):
    rows = np.concatenate([keypoints.body, keypoints.body_scores[..., None]], -1).reshape(5, -1)
    frames = [
        {"canvas_width": 64, "canvas_height": 64, "people": [{"pose_keypoints_2d": row.tolist()}]}
        for row in rows
    ]
    if folder:
        for i, frame in enumerate(frames):
            (tmp_path / f"{i:03d}_keypoints.json").write_text(json.dumps(frame))
    else:
        (tmp_path / "a.json").write_text(json.dumps(frames))
    skeletons, _, _ = load(tmp_path if folder else tmp_path / "a.json")
    np.testing.assert_array_equal(skeletons[:], draw_keypoints(keypoints, 64, 64, STYLE))


def test_folder_of_pictures_in_natural_order(tmp_path):
    for i in (0, 9, 10):
        Image.new("RGB", (40, 20), (i, 0, 0)).save(tmp_path / f"frame_{i}.png")
        (tmp_path / f"._frame_{i}.png").write_bytes(b"Mac OS X")
        (tmp_path / f"._frame_{i}.json").write_bytes(b"Mac OS X")
    (tmp_path / "notes.txt").write_text("not a picture")
    skeletons, fps, aspect = load(tmp_path, width=32, height=16)
    assert skeletons.shape == (3, 16, 32, 3)
    assert skeletons[:, 0, 0, 0].tolist() == [0, 9, 10]
    assert (fps, aspect) == (FOLDER_FPS, 2)
    assert len(load(tmp_path, max_frames=1)[0]) == 1


def test_skeletons_without_a_canvas_stand_on_black(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:4, :, :] = 255, 0, 0, 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    skeletons, _, _ = load(tmp_path, width=8, height=8)
    np.testing.assert_array_equal(skeletons[0], pixels[..., :3])


def test_pictures_of_different_sizes_are_no_clip(tmp_path):
    for name, width in (("1", 40), ("2", 40), ("10", 80)):
        Image.new("RGB", (width, 20)).save(tmp_path / f"{name}.png")
    message = r"10\.png: has another size \(80x20\) than the first frame \(40x20\)"
    with pytest.raises(PictureError, match=message):
        load(tmp_path)
    assert len(load(tmp_path, max_frames=2)[0]) == 2


def test_openpose_frames_come_in_natural_order(tmp_path):
    for t in (0, 2, 10):
        row = np.column_stack([np.full((18, 2), 8.0 + t), np.ones(18)])
        frame = {"canvas_width": 64, "canvas_height": 64}
        frame["people"] = [{"pose_keypoints_2d": row.ravel().tolist()}]
        (tmp_path / f"{t}_keypoints.json").write_text(json.dumps(frame))
        (tmp_path / f"._{t}_keypoints.json").write_bytes(b"Mac OS X")
    skeletons, _, _ = load(tmp_path)
    np.testing.assert_array_equal(skeletons.keypoints.body[:, 0, 0], [8, 10, 18])


def test_skeleton_video(tmp_path, keypoints):
    pictures = draw_keypoints(keypoints, 64, 64, STYLE)
    write_video(tmp_path / "a.mp4", pictures, 8)
    skeletons, fps, _ = load(tmp_path / "a.mp4", max_frames=3)
    np.testing.assert_array_equal(skeletons, read_video(tmp_path / "a.mp4")[0][:3])
    assert fps == 8


def test_what_is_done_to_a_skeleton_video_is_told(tmp_path, keypoints):
    path = tmp_path / "a.mp4"
    write_video(path, draw_keypoints(keypoints, 64, 64, STYLE), 8)
    set_matrix(path, EIGHT["upside down"])
    lines = []
    load(path, report=lines.append)
    assert lines == [f"{path}: turned by 180 degrees to stand upright"]


def test_missing_or_empty_sources_are_named(tmp_path):
    with pytest.raises(PosesError, match=r"none\.npz: no such file or folder of poses"):
        load(tmp_path / "none.npz")
    with pytest.raises(PosesError, match="holds no pictures and no"):
        load(tmp_path)
