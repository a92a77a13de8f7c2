#!/usr/bin/env bash
# av 18.1.0 (libavformat 62.12): an MP4 with a pause says that it ends before its last frame.
#
# Ten frames at 25 a second, the last one half a second late: 0, 0.04, ... 0.32, 0.84. Encoded with
# H.264 and muxed into MP4 with these times, the file gives them all back. But its stream and its
# container say 0.4 seconds, and an average rate of 25: the muxer's durations are those of the
# packets, one frame each, and the pause is in none of them. A reader that takes the length from the
# header, or counts `duration * average_rate`, believes in ten evenly spaced frames. The same stream
# in Matroska says 0.88. In AVI, which has no times, the pause is gone, and frames come out with
# times that are not in order.
#
# Output: mp4: says 0.4 s at 25 frames a second, last frame at 0.84 s
#         mkv: says 0.88 s at 25 frames a second, last frame at 0.84 s
#         avi: times in order False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
from fractions import Fraction

import av
import numpy as np

STEPS = [*range(9), 21]  # in 25ths of a second


def written(name):
    with av.open(name, "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for step in STEPS:
            grey = np.full((64, 64, 3), 10 * step, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = step, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with av.open(name) as file:
        stream = file.streams.video[0]
        seconds, rate = file.duration / 1e6, stream.average_rate
        return seconds, rate, [round(float(frame.time), 3) for frame in file.decode(stream)]


for name, expected in (("mp4", 0.4), ("mkv", 0.88)):
    seconds, rate, times = written(f"pause.{name}")
    print(f"{name}: says {seconds} s at {rate} frames a second, last frame at {times[-1]} s")
    assert times == [round(step / 25, 3) for step in STEPS], "the frames' times have changed"
    assert (seconds, rate) == (expected, 25), "the header's length or rate has changed"
times = written("pause.avi")[2]
print(f"avi: times in order {times == sorted(times)}")
assert times != sorted(times), "AVI's times are in order now"
PYTHON
