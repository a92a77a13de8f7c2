"""DWPose: two networks on onnxruntime (extra `pose`), which users fetch themselves."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from aa_jax import files
from aa_jax.pose import dwpose
from aa_jax.pose.detectors import DWPOSE_VARIABLE, DetectionError
from aa_jax.pose.people import People

if TYPE_CHECKING:
    import onnxruntime

DETECTOR_FILE = "yolox_l.onnx"
POSE_FILE = "dw-ll_ucoco_384.onnx"

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH = 8  # people that pass through the networks together


def model_files(directory: str | Path | None = None) -> tuple[Path, Path]:
    """The files of the person detector and of the pose network.

    Args:
      directory: where they are; by default what the environment variable AA_JAX_DWPOSE_DIR names.

    Raises:
      DetectionError: a file is missing.
    """
    folder = directory or os.environ.get(DWPOSE_VARIABLE, "")
    advice = (
        f"they are published as {DETECTOR_FILE} and {POSE_FILE} with DWPose (yzd-v/DWPose); put "
        f"both into one folder and name it by --dwpose DIR or {DWPOSE_VARIABLE}, or take "
        "--detector blazepose, which needs neither"
    )
    if not folder:
        raise DetectionError(f"the pose detector's two files are not known; {advice}")
    files = Path(folder) / DETECTOR_FILE, Path(folder) / POSE_FILE
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise DetectionError(f"{' and '.join(missing)}: no such file; {advice}")
    return files


class DWPose:
    """A YOLOX that finds people, and a SimCC network that finds each one's points."""

    name = "DWPose"

    def __init__(
        self,
        detector_onnx: str | Path,
        pose_onnx: str | Path,
        *,
        provider: str = "auto",
        threads: int = 0,
    ) -> None:
        """Loads both networks.

        Args:
          detector_onnx: input [1 or any, 3, 640, 640], output [same, 8400, 85].
          pose_onnx: input [1 or any, 3, 384, 288], outputs [same, 133, 576], [same, 133, 768].
          provider: `cpu`, `cuda`, or `auto`: cuda where onnxruntime has it.
          threads: CPU threads per network; 0: as many as there are cores.

        Raises:
          DetectionError: onnxruntime or a file is missing, or a file is another network.
        """
        self._files = (Path(detector_onnx), Path(pose_onnx))
        self._boxes, self._pose = (
            _Network(file, (3, *size), provider, threads)
            for file, size in zip(self._files, (dwpose.BOX_INPUT, dwpose.POSE_INPUT), strict=True)
        )

    @property
    def device(self) -> str:
        """Where both networks run, `cpu` or `cuda`; it may be another than `auto` hoped for."""
        devices = {network.device for network in (self._boxes, self._pose)}
        return " and ".join(sorted(devices))

    @functools.cached_property
    def key(self) -> str:
        """Names the content of both files."""
        return "+".join(map(files.sha256, self._files))

    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[People]:
        """Everyone in each of some RGB pictures, which may have different sizes."""
        pictures = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]  # BGR
        boxes = self._find_boxes(pictures)
        regions = [
            # Without a box the whole picture is taken for one.
            found if len(found) else np.array([[0, 0, picture.shape[1], picture.shape[0]]])
            for found, picture in zip(boxes, pictures, strict=True)
        ]
        crops = [
            dwpose.crop_person(picture, box)
            for picture, frame in zip(pictures, regions, strict=True)
            for box in frame
        ]
        points, scores = self._find_points(crops)
        ends = np.cumsum([len(frame) for frame in regions])[:-1]
        counts = map(len, boxes)
        return list(map(People, np.split(points, ends), np.split(scores, ends), counts))

    def stream(self, state: np.ndarray | None = None) -> Frames:
        """Detection in a video, of whose frames each is taken for itself."""
        return Frames(self)

    def _find_boxes(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        inputs, scales = zip(*map(dwpose.letterbox, pictures), strict=True)
        (outputs,) = self._boxes(np.stack(inputs), [(8400, 85)])
        return [dwpose.person_boxes(*pair)[0] for pair in zip(outputs, scales, strict=True)]

    def _find_points(self, crops: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
        """Points [people, 134, 2] and scores [people, 134] of what `crop_person` returned."""
        pixels, centers, sizes = map(np.stack, zip(*crops, strict=True))
        bins = [side * dwpose.BINS_PER_PIXEL for side in reversed(dwpose.POSE_INPUT)]
        shapes = [(dwpose.NUM_WHOLEBODY_POINTS, count) for count in bins]
        x_scores, y_scores = self._pose(pixels, shapes)
        wholebody = dwpose.decode_simcc(x_scores, y_scores, centers, sizes)
        points, scores = dwpose.to_openpose(*wholebody)
        return points.astype(np.float32), scores.astype(np.float32)


class Frames:
    """Frames of a video, in which nothing is followed.

    Attributes:
      state: none.
    """

    def __init__(self, detector: DWPose) -> None:
        self._detector = detector
        self.state = np.zeros(0)

    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[People]:
        """Everyone in each of the next frames."""
        return self._detector(pictures)


class _Network:
    """An ONNX file with one picture input, run in the batches it allows."""

    def __init__(
        self, path: Path, shape: tuple[int, int, int], provider: str, threads: int
    ) -> None:
        self.path = path
        self.session = _open_session(path, provider, threads)
        source = self.session.get_inputs()[0]
        self.input = source.name
        if tuple(source.shape[1:]) != shape:
            raise DetectionError(
                f"{path}: takes pictures of shape {source.shape[1:]}, expected {list(shape)}; "
                f"DWPose's networks are {DETECTOR_FILE} and {POSE_FILE}"
            )
        self.device = _device(path, self.session.get_providers(), provider)
        fixed = source.shape[0]
        self.batch = fixed if isinstance(fixed, int) else _BATCH

    def __call__(self, pictures: np.ndarray, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
        """Answers to [n, 3, h, w], one array [n, *shape] per shape."""
        parts = []
        for start in range(0, len(pictures), self.batch):
            part = pictures[start : start + self.batch]
            answers = self.session.run(None, {self.input: part})[: len(shapes)]
            if [answer.shape for answer in answers] != [(len(part), *shape) for shape in shapes]:
                raise DetectionError(
                    f"{self.path}: answers of shapes {[list(a.shape) for a in answers]}, expected "
                    f"{[[len(part), *shape] for shape in shapes]}; it is another network"
                )
            parts.append(answers)
        return [np.concatenate(answers) for answers in zip(*parts, strict=True)]


def _device(path: Path, running: Sequence[str], asked: str) -> str:
    """Where a session runs; onnxruntime falls back to the CPU with no more than a warning."""
    device = next((name for name, kind in _PROVIDERS.items() if kind == running[0]), running[0])
    if asked not in ("auto", device):
        raise DetectionError(
            f"{path}: runs on the {device} where {asked} is asked for; onnxruntime-gpu needs CUDA "
            "and cuDNN of its version, or choose provider cpu"
        )
    return device


def _open_session(path: Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise DetectionError(
            "onnxruntime is missing; detecting poses needs it: pip install 'aa_jax[pose]'"
        ) from None

    if provider not in ("auto", *_PROVIDERS):
        raise DetectionError(f"provider must be auto, {' or '.join(_PROVIDERS)}, got {provider!r}")
    available = onnxruntime.get_available_providers()
    wanted = _PROVIDERS["cuda" if provider == "auto" else provider]
    if provider == "auto" and wanted not in available:
        wanted = _PROVIDERS["cpu"]
    if wanted not in available:
        raise DetectionError(
            f"onnxruntime has no {wanted}; install onnxruntime-gpu or choose provider cpu"
        )
    if not path.is_file():
        raise DetectionError(f"{path}: no such file; it holds one of DWPose's two networks")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; warnings are for the makers of the file
    try:
        return onnxruntime.InferenceSession(path, options, providers=[wanted])
    except Exception as error:  # onnxruntime has an unrelated class for every cause
        reason = " ".join(str(error).split())
        raise DetectionError(f"{path}: no network onnxruntime can read ({reason})") from None
