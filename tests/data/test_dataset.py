import pickle

import numpy as np
import pytest
from puppet_videos import keypoints
from skimage.metrics import peak_signal_noise_ratio

from aa_jax.data.dataset import DatasetError, open_dataset, restored_rate
from aa_jax.media.video import read_video

FRAMES = [5, 0, 23, 5, 11]  # any order, some twice


@pytest.fixture(params=["jpeg_dataset", "mp4_dataset"])
def dataset(request):
    return open_dataset(request.getfixturevalue(request.param), "train")


def test_clips_are_the_videos_in_the_order_of_their_names(dataset):
    clips = [dataset.clip(index) for index in range(len(dataset))]
    assert [(c.name, c.length, c.size, c.fps) for c in clips] == [
        ("a.mp4", 24, (64, 64), 12.0),
        ("b #1.mkv", 30, (96, 64), 12.0),
        ("deep/c+d.avi", 26, (64, 96), 12.0),
    ]


def test_frames_come_back_by_number(dataset, video_folder):
    for clip in map(dataset.clip, range(len(dataset))):
        video, _ = read_video(video_folder / "videos" / clip.name)
        found = clip.pictures(FRAMES, clip.size)
        for frame, picture in zip(FRAMES, found, strict=True):
            quality = [peak_signal_noise_ratio(video[t], picture) for t in range(len(video))]
            assert np.argmax(quality) == frame
            assert quality[frame] > 30  # stored once more with loss


def test_every_frame_read_alone_is_that_of_the_whole_clip(dataset):
    clip = dataset.clip(1)
    whole = clip.pictures(range(clip.length), clip.size)
    for frame in range(clip.length):
        np.testing.assert_array_equal(clip.pictures([frame], clip.size)[0], whole[frame])


def test_keypoints_come_back_exactly(dataset):
    found = dataset.clip(1).keypoints(FRAMES, (96, 64))
    expected = keypoints(1, frames=30, width=96, height=64)[FRAMES]
    np.testing.assert_allclose(found.body, expected.body, rtol=1e-6)
    assert (found.body_scores == 1).all()
    assert not found.hand_scores.any()


def test_a_crop_moves_pictures_and_keypoints_together(dataset):
    clip = dataset.clip(1)
    picture, cropped = (clip.pictures([3], size)[0] for size in [(96, 64), (64, 64)])
    np.testing.assert_array_equal(cropped, picture[:, 16:80])
    shift = clip.keypoints([3], (96, 64)).body - clip.keypoints([3], (64, 64)).body
    np.testing.assert_allclose(shift, np.broadcast_to([16.0, 0.0], shift.shape), atol=1e-4)


def test_a_dataset_goes_to_other_processes(dataset):
    expected = dataset.clip(2).pictures([7], (64, 96))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.clip(2).pictures([7], (64, 96)), expected)


def test_what_is_no_dataset_is_refused(tmp_path, jpeg_dataset):
    with pytest.raises(DatasetError, match=f"{tmp_path}: no finished dataset"):
        open_dataset(tmp_path, "train")
    with pytest.raises(DatasetError, match="has no split test, only train"):
        open_dataset(jpeg_dataset, "test")


@pytest.mark.parametrize(
    "rate", [24000 / 1001, 30000 / 1001, 60000 / 1001, 12.5, 25 / 3, 29.97, 10, 23.976, 1000 / 33]
)
def test_rates_come_back_from_32_bits(rate):
    """tfds (4.9.10, without TensorFlow) passes all floats through 32 bits."""
    assert float(np.float32(rate)) != rate or rate in (10, 12.5)
    assert restored_rate(float(np.float32(rate))) == rate


def test_a_rate_that_is_no_small_fraction_stays():
    stored = float(np.float32(17.43210987))
    assert restored_rate(stored) == stored
