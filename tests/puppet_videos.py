"""Folders of videos of puppets with their keypoints, some of them broken, as users have them."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from aa_jax.data.preparation import cli
from aa_jax.media.video import write_video
from aa_jax.puppets import clips as puppets

CODECS = {
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".mov": "mjpeg",
    ".avi": "mpeg4",
    ".webm": "libvpx",
    ".gif": "gif",
}


def pictures(index, frames=24, width=64, height=64):
    return puppets.make_clip("train", 0, index).render(range(frames), width, height)[0]


def keypoints(index, frames=24, width=64, height=64):
    return puppets.make_clip("train", 0, index).keypoints(range(frames), width, height)


def write_openpose(folder, poses, people=1):
    """One `NNNNNN_keypoints.json` per frame, 18 joints in pixels, no sizes: as OpenPose does."""
    folder.mkdir(parents=True)
    for frame, (points, scores) in enumerate(zip(poses.body, poses.body_scores, strict=True)):
        body = np.concatenate([points, scores[:, None]], 1).ravel().tolist()
        content = {"people": [{"pose_keypoints_2d": body}] * people}
        (folder / f"{frame:06d}_keypoints.json").write_text(json.dumps(content))


def encode(path, frames, fps=12, times=None):
    """Any container; `times` (in 1/1000 s) makes the frame rate variable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        formats = {"mjpeg": "yuvj420p", "gif": "rgb8"}
        stream.pix_fmt = formats.get(codec, "yuv420p")
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[index]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def good(videos, poses, name, index, fps=12, **shape):
    """A video and its keypoints."""
    (videos / name).parent.mkdir(parents=True, exist_ok=True)
    encode(videos / name, pictures(index, **shape), fps)
    write_openpose(poses / Path(name).with_suffix(""), keypoints(index, **shape))


def truncate(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def rotate(path):
    """Writes a display matrix of 90 degrees, as phones do, into an MP4 or MOV."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4")
    data[start : start + 36] = matrix.tobytes()
    path.write_bytes(bytes(data))


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for _ in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def break_folder(videos, poses):
    """Adds eight videos that cannot be used; returns what the report says of each."""
    for name in ("cut.mp4", "cut short.mkv", "headless.mov"):
        good(videos, poses, name, 90)
    write_video(videos / "cut.mp4", pictures(90), 12)  # head first, so that its start decodes
    truncate(videos / "cut.mp4")
    truncate(videos / "cut short.mkv")
    truncate(videos / "headless.mov")
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("no video at all\n" * 100)
    write_sound(videos / "sound.mp4")
    good(videos, poses, "one frame.mp4", 91, frames=1)
    encode(videos / "no poses.mp4", pictures(92))
    return {
        "cut.mp4": "after frame",
        "cut short.mkv": "after frame",
        "headless.mov": "no video that can be read",
        "empty.mp4": "0 bytes",
        "text.mp4": "no video that can be read",
        "sound.mp4": "holds no video stream",
        "one frame.mp4": "short: 1 frame",
        "no poses.mp4": "no keypoints",
    }


def prepare(folder, output, *flags):
    """Runs `prepare.py` on `folder/videos` and `folder/poses`; returns its exit code."""
    arguments = ["--videos", folder / "videos", "--keypoints-from", folder / "poses"]
    arguments += ["--output", output, "--workers", 0, *flags]
    return cli.main(list(map(str, arguments)))
