"""From pixels to keypoints through both networks, with tiny ones whose answers are known."""

import os
import shutil

import numpy as np
import pytest
from dwpose_models import write_detector, write_pose

from aa_jax.media.video import VideoError, write_video
from aa_jax.pose import detection
from aa_jax.pose.detection import DetectionError, detect_people, detect_picture, detect_video
from aa_jax.pose.dwpose_networks import DWPose, model_files

HEIGHT, WIDTH = 240, 320  # letterboxed at scale 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both networks under their public names: two people, at (20, 20, 100, 200) and 200 right."""
    folder = tmp_path_factory.mktemp("dwpose")
    boxes = [(40, 40, 200, 400, 0.9), (440, 40, 600, 400, 0.6)]
    write_detector(folder / "yolox_l.onnx", boxes)
    write_pose(folder / "dw-ll_ucoco_384.onnx", gains=np.linspace(0.2, 0.33, 133))
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return DWPose(*model_files(folder), provider="cpu", threads=1)


def picture(*dots, blue=255):
    """A blue picture with a green dot (x, y), or one of less than 255 (x, y, green), per person."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 2] = blue
    for x, y, *green in dots:
        pixels[y - 1 : y + 2, x - 1 : x + 2] = (0, *(green or [255]), 0)
    return pixels


GREEN = (255 - 116.28) / 57.12
"""The brightest answer of the pose network, before its gains."""


def test_every_person_is_found_at_the_place(detector):
    (found,) = detector([picture((60, 90), (250, 150))])

    assert found.found == 2
    assert found.points.shape == (2, 134, 2)
    for person, place in enumerate([(60, 90), (250, 150)]):
        distances = np.abs(found.points[person] - place)
        assert distances.max() <= 1.5  # the dot is three pixels wide
    # nose, and the last point of the right hand; the neck is 1 where both shoulders exceed 0.3
    np.testing.assert_allclose(found.scores[:, 0], 0.2 * GREEN, rtol=1e-2)
    np.testing.assert_allclose(found.scores[:, 133], 0.33 * GREEN, rtol=1e-2)
    assert found.scores[:, 1].tolist() == [1, 1]


def test_pictures_are_given_to_the_networks_as_bgr(detector):
    """The tiny detector finds people in blue pictures only, blue being the first channel."""
    red = picture((60, 90), blue=0)
    red[..., 0] = 255

    assert detector([red])[0].found == 0
    assert detector([picture(blue=110)])[0].found == 1  # 0.9 * 110 / 255 > 0.3 > 0.6 * 110 / 255


def test_without_a_box_the_whole_picture_is_taken_for_one(detector):
    (found,) = detector([picture((300, 20), blue=0)])

    assert found.found == 0
    assert len(found.points) == 1
    assert np.abs(found.points[0] - (300, 20)).max() <= 1.5


def test_batches_equal_single_pictures(detector, folder, tmp_path):
    write_pose(tmp_path / "single.onnx", gains=np.linspace(0.2, 0.33, 133), batch=1)
    one_by_one = DWPose(folder / "yolox_l.onnx", tmp_path / "single.onnx", provider="cpu")
    rng = np.random.default_rng(0)
    pictures = [picture((60 + k, 90), (250, 150), blue=int(rng.integers(256))) for k in range(5)]
    pictures.append(picture((30, 100))[:200, :150])  # another size

    together = detector(pictures)

    for found, each in zip(together, pictures, strict=True):
        for other in (detector([each])[0], one_by_one([each])[0]):
            np.testing.assert_array_equal(found.points, other.points)
            np.testing.assert_array_equal(found.scores, other.scores)


def test_picture_gives_keypoints_of_one_frame(detector):
    keypoints = detect_picture(picture((60, 90), (250, 150)), detector)

    assert len(keypoints) == 1
    assert (keypoints.width, keypoints.height) == (WIDTH, HEIGHT)
    assert np.abs(keypoints.body[0] - (60, 90)).max() <= 1.5


@pytest.fixture
def video(tmp_path):
    """18 frames; the left person goes down one pixel a frame, the right one, less clear, stands."""
    path = tmp_path / "two people.mp4"
    write_video(path, [picture((60, 60 + t), (250, 150, 190)) for t in range(18)], 12)
    return path


class Counting:
    """A detector that counts the frames it sees, and fails after some."""

    def __init__(self, detector, fails_after=np.inf):
        self.detector, self.key, self.left, self.seen = detector, detector.key, fails_after, 0

    def __call__(self, pictures):
        if self.seen + len(pictures) > self.left:
            raise KeyboardInterrupt
        self.seen += len(pictures)
        return self.detector(pictures)

    def stream(self, state=None):
        self.state = np.zeros(0)
        return self


def test_video(detector, video):
    keypoints = detect_video(video, detector, track=True)

    assert len(keypoints) == 18
    assert (keypoints.fps, keypoints.width, keypoints.height) == (12, WIDTH, HEIGHT)
    nose = keypoints.body[:, 0]
    assert np.abs(nose - np.stack([np.full(18, 60), 60 + np.arange(18)], 1)).max() <= 3  # H.264
    assert detect_people(video, detector).people_found.tolist() == [2] * 18


def test_detections_are_kept_beside_the_video(detector, video):
    counting = Counting(detector)
    first = detect_video(video, counting)
    again = detect_video(video, counting)

    assert counting.seen == 18
    assert sorted(p.name for p in video.parent.iterdir()) == [
        "two people.mp4",
        "two people.mp4.poses.npz",
    ]
    np.testing.assert_array_equal(first.face, again.face)


def test_kept_detections_belong_to_one_content(detector, video, tmp_path):
    cache = tmp_path / "cache" / "a.npz"
    detect_people(video, detector, cache=cache)
    renamed = shutil.copy(video, tmp_path / "renamed.mp4")
    counting = Counting(detector)
    detect_people(renamed, counting, cache=cache)
    assert counting.seen == 0

    write_video(video, [picture((60, 90))] * 3, 12)
    detect_people(video, counting, cache=cache)
    assert counting.seen == 3
    counting.key = "other networks"
    detect_people(video, counting, cache=cache)
    assert counting.seen == 6


def test_a_killed_detection_goes_on_where_it_stopped(detector, video, monkeypatch):
    monkeypatch.setattr(detection, "_SAVE_EVERY", 1)
    whole = detect_people(video, detector, cache=video.with_name("whole.npz"))
    with pytest.raises(KeyboardInterrupt):
        detect_people(video, Counting(detector, fails_after=10))

    counting = Counting(detector)
    resumed = detect_people(video, counting)

    assert counting.seen == 18 - 8
    np.testing.assert_array_equal(resumed.keypoints().body, whole.keypoints().body)


def test_large_frames_pass_in_smaller_batches(detector, video, monkeypatch):
    sizes = []

    class Noting(Counting):
        def __call__(self, pictures):
            sizes.append(len(pictures))
            return super().__call__(pictures)

    monkeypatch.setattr(detection, "_BATCH_BYTES", 3 * WIDTH * HEIGHT * 3)
    assert len(detect_people(video, Noting(detector))) == 18
    assert sizes == [3] * 6


def test_the_first_frames_only(detector, video):
    counting = Counting(detector)
    assert len(detect_people(video, counting, max_frames=5)) == 5
    assert len(detect_people(video, counting, max_frames=4)) == 4
    assert counting.seen == 5
    assert len(detect_people(video, counting)) == 18
    assert counting.seen == 18
    assert len(detect_people(video, counting, max_frames=7)) == 7
    assert counting.seen == 18


@pytest.mark.parametrize("names", [["yolox_l.onnx"], ["dw-ll_ucoco_384.onnx"], []])
def test_missing_files_are_named_in_one_line(names, tmp_path, monkeypatch):
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.setenv("AA_JAX_DWPOSE_DIR", str(tmp_path))
    with pytest.raises(DetectionError, match="no such file") as caught:
        model_files()

    message = str(caught.value)
    missing = {"yolox_l.onnx", "dw-ll_ucoco_384.onnx"} - set(names)
    assert message.startswith(str(tmp_path))
    assert {name for name in missing if str(tmp_path / name) in message} == missing
    assert "--dwpose" in message
    assert "\n" not in message


def test_folder_that_was_never_named(monkeypatch):
    monkeypatch.delenv("AA_JAX_DWPOSE_DIR", raising=False)
    with pytest.raises(DetectionError, match=r"yolox_l\.onnx and dw-ll_ucoco_384\.onnx"):
        model_files()


def test_files_that_are_other_networks(folder, tmp_path):
    yolox, pose = model_files(folder)
    with pytest.raises(DetectionError, match=r"takes pictures of shape .* expected \[3, 640, 640"):
        DWPose(pose, yolox)
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(DetectionError, match=r"broken\.onnx: no network"):
        DWPose(yolox, tmp_path / "broken.onnx")
    with pytest.raises(DetectionError, match=r"gone\.onnx: no such file"):
        DWPose(tmp_path / "gone.onnx", pose)


def test_unknown_provider(folder):
    with pytest.raises(DetectionError, match="auto, cpu or cuda, got 'npu'"):
        DWPose(*model_files(folder), provider="npu")


def test_provider_that_onnxruntime_lacks(folder):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DetectionError, match="onnxruntime-gpu"):
        DWPose(*model_files(folder), provider="cuda")


def test_truncated_video(detector, video):
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(VideoError, match="two people") as caught:
        detect_people(video, detector)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_where_nothing_can_be_written(detector, video):
    video.parent.chmod(0o555)
    try:
        assert len(detect_people(video, detector)) == 18
    finally:
        video.parent.chmod(0o755)


def test_the_detector_says_where_it_runs(detector):
    assert detector.device == "cpu"


def test_a_network_that_falls_back_to_the_cpu_is_refused(folder, monkeypatch):
    """onnxruntime 1.32 only warns where CUDA is there by name and its libraries are not."""
    import onnxruntime

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    plain = onnxruntime.InferenceSession

    def falls_back(path, options, providers):
        assert providers == names[:1]
        return plain(path, options, providers=names[1:])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    files = folder / "yolox_l.onnx", folder / "dw-ll_ucoco_384.onnx"
    with pytest.raises(DetectionError, match="runs on the cpu where cuda is asked for"):
        DWPose(*files, provider="cuda")
    assert DWPose(*files).device == "cpu"


@pytest.mark.parametrize("provider", ["tensorrt", "CUDAExecutionProvider", ""])
def test_an_unknown_provider_is_refused_by_name(folder, provider):
    files = folder / "yolox_l.onnx", folder / "dw-ll_ucoco_384.onnx"
    with pytest.raises(DetectionError, match="provider must be auto, cpu or cuda"):
        DWPose(*files, provider=provider)
