"""MediaPipe's holistic solution without the face mesh, on frames in a file: truth and stopwatch.

For an environment of its own: Python 3.11 with `pip install mediapipe==0.10.21`.

python mediapipe_holistic.py frames.npy answers.npz video
"""

import os
import sys
import time

import numpy as np

GRAPH = """
input_stream: "image"
output_stream: "pose_landmarks"
output_stream: "left_hand_landmarks"
output_stream: "right_hand_landmarks"
node {
  calculator: "PoseLandmarkCpu"
  input_stream: "IMAGE:image"
  input_side_packet: "USE_PREV_LANDMARKS:use_prev_landmarks"
  input_side_packet: "SMOOTH_LANDMARKS:smooth_landmarks"
  output_stream: "LANDMARKS:pose_landmarks"
}
node {
  calculator: "HandLandmarksLeftAndRightCpu"
  input_stream: "IMAGE:image"
  input_stream: "POSE_LANDMARKS:pose_landmarks"
  output_stream: "LEFT_HAND_LANDMARKS:left_hand_landmarks"
  output_stream: "RIGHT_HAND_LANDMARKS:right_hand_landmarks"
}
"""
COUNTS = {"pose_landmarks": 33, "left_hand_landmarks": 21, "right_hand_landmarks": 21}


def open_graph(*, follow: bool):
    """The solution; `follow`: from frame to frame, as for a video."""
    from google.protobuf import text_format
    from mediapipe.framework import calculator_pb2
    from mediapipe.python import solution_base
    from mediapipe.python.solutions import holistic  # noqa: F401  registers the graph's options

    class Holistic(solution_base.SolutionBase):
        pass

    return Holistic(
        graph_config=text_format.Parse(GRAPH, calculator_pb2.CalculatorGraphConfig()),
        side_inputs={"use_prev_landmarks": follow, "smooth_landmarks": False},
        outputs=list(COUNTS),
    )


def points_of(landmarks, count, width, height):
    """[count, 3]: x, y in pixels, visibility; NaN where there are none."""
    if landmarks is None:
        return np.full((count, 3), np.nan)
    return np.array([(p.x * width, p.y * height, p.visibility) for p in landmarks.landmark])


def main():
    frames_file, answers_file, mode = sys.argv[1:]
    frames = np.load(frames_file)
    height, width = frames.shape[1:3]
    answers = {name: [] for name in COUNTS}
    with open_graph(follow=mode == "video") as graph:
        graph.process(np.zeros_like(frames[0]))  # the first call loads the networks
        begin = time.perf_counter()
        results = [graph.process(frame) for frame in frames]
        seconds = time.perf_counter() - begin
    for result in results:
        for name, count in COUNTS.items():
            answers[name].append(points_of(getattr(result, name), count, width, height))
    np.savez_compressed(
        answers_file,
        seconds=seconds,
        cores=len(os.sched_getaffinity(0)),
        **{name: np.array(rows, np.float32) for name, rows in answers.items()},
    )


if __name__ == "__main__":
    main()
