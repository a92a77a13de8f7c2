"""The arithmetic around DWPose's two networks, with the networks left out.

First pass: YOLOX finds boxes of people. Second pass: a SimCC network finds the 133 points of
COCO-WholeBody in each box. Numbers as in DWPose (IDEA-Research/DWPose, `annotator/dwpose`) and its
copy in Moore-AnimateAnyone a914ef3; pictures are BGR as both networks expect. Crops are bilinear:
opencv 5.0 takes places exactly, 4.12 at 32nds of a pixel, which changes noise by up to 6.5 of 255
levels; points of the tests are the same with both.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

BOX_INPUT = (640, 640)
"""Height and width of YOLOX's input."""

POSE_INPUT = (384, 288)
"""Height and width of the pose network's input."""

NUM_WHOLEBODY_POINTS = 133
BINS_PER_PIXEL = 2
"""SimCC classifies each coordinate into bins of half a pixel."""

BOX_THRESHOLD = 0.3
OVERLAP_THRESHOLD = 0.45
SHOULDER_THRESHOLD = 0.3

_STRIDES = (8, 16, 32)
_PERSON = 0  # of the 80 classes
_LETTERBOX_GREY = 114
_BOX_PADDING = 1.25
# Means of red, green and blue, which DWPose applies to blue, green and red all the same.
_MEAN = np.array([123.675, 116.28, 103.53])
_STD = np.array([58.395, 57.12, 57.375])

# COCO-WholeBody point of every OpenPose body joint; 133 stands for the neck, which is made.
_NECK = 133
_BODY = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6
_TO_OPENPOSE = np.array([*_BODY, *range(17, NUM_WHOLEBODY_POINTS)])


def letterbox(
    picture: UInt8[np.ndarray, "h w 3"],
) -> tuple[Float32[np.ndarray, "3 640 640"], float]:
    """A picture fitted into the upper left of YOLOX's input, 0..255, and pixels there per pixel."""
    height, width = picture.shape[:2]
    scale = min(BOX_INPUT[0] / height, BOX_INPUT[1] / width)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    canvas = np.full((*BOX_INPUT, 3), _LETTERBOX_GREY, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32), scale


def person_boxes(
    output: Float[np.ndarray, "8400 85"], scale: float
) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
    """Boxes of people among YOLOX's raw answers, best first.

    Args:
      output: per cell of the three grids x, y, log width, log height (all relative to the cell),
        objectness, and the scores of 80 classes.
      scale: what `letterbox` returned.

    Returns:
      x0, y0, x1, y1 in pixels of the picture, and scores.
    """
    # DWPose drops scores up to 0.1 first and up to 0.3 last. A weak box never removes a stronger
    # one, and classes do not remove each other, so one filter for people at the start is the same.
    scores = output[:, 4] * output[:, 5 + _PERSON]
    likely = scores > BOX_THRESHOLD
    scores = scores[likely]
    cells, strides = _grid()
    cells, strides = cells[likely], strides[likely]
    centers = (output[likely, :2] + cells) * strides
    sizes = np.exp(output[likely, 2:4]) * strides
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], 1) / scale
    kept = _suppress_overlaps(boxes, scores)
    return boxes[kept], scores[kept]


def crop_person(
    picture: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, " 4"]
) -> tuple[Float32[np.ndarray, "3 384 288"], Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Input of the pose network for one person.

    Args:
      picture: BGR.
      box: x0, y0, x1, y1 in pixels.

    Returns:
      The normalised crop, and centre and size of the region it shows, (x, y) in pixels.
    """
    height, width = POSE_INPUT
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    center = np.array([x0 + x1, y0 + y1]) / 2
    size = np.maximum([x1 - x0, y1 - y0], 1.0) * _BOX_PADDING
    aspect = width / height
    if size[0] > size[1] * aspect:
        size = np.array([size[0], size[0] / aspect])
    else:
        size = np.array([size[1] * aspect, size[1]])
    # Three corresponding points, as DWPose builds its matrix, so that it rounds the same way.
    source = center + size[0] / 2 * np.array([[0, 0], [0, -1], [-1, -1]])
    target = np.array([width, height]) / 2 + width / 2 * np.array([[0, 0], [0, -1], [-1, -1]])
    matrix = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32))
    crop = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)
    normalised = ((crop - _MEAN) / _STD).transpose(2, 0, 1)
    return np.ascontiguousarray(normalised, np.float32), center, size


def decode_simcc(
    x_scores: Float[np.ndarray, "n 133 576"],
    y_scores: Float[np.ndarray, "n 133 768"],
    centers: Float[np.ndarray, "n 2"],
    sizes: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "n 133 2"], Float[np.ndarray, "n 133"]]:
    """Points in pixels of the picture and their scores, from the pose network's answers.

    Args:
      x_scores, y_scores: score of every bin of each point's x and y.
      centers, sizes: what `crop_person` returned, stacked.
    """
    bins = np.stack([x_scores.argmax(-1), y_scores.argmax(-1)], -1).astype(np.float64)
    scores = np.minimum(x_scores.max(-1), y_scores.max(-1))
    bins[scores <= 0] = -1
    height, width = POSE_INPUT
    fractions = bins / BINS_PER_PIXEL / [width, height]
    return (fractions - 0.5) * sizes[:, None] + centers[:, None], scores


def to_openpose(
    points: Float[np.ndarray, "n 133 2"], scores: Float[np.ndarray, "n 133"]
) -> tuple[Float[np.ndarray, "n 134 2"], Float[np.ndarray, "n 134"]]:
    """COCO-WholeBody's order to OpenPose's: 18 body joints, 6 of feet, 68 of the face, 2 x 21.

    The neck is the middle of the shoulders, with score 1 where both score above 0.3 and else 0.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    neck = points[:, shoulders].mean(1, keepdims=True)
    seen = (scores[:, shoulders] > SHOULDER_THRESHOLD).all(1, keepdims=True)
    points = np.concatenate([points, neck], 1)
    scores = np.concatenate([scores, seen.astype(scores.dtype)], 1)
    return points[:, _TO_OPENPOSE], scores[:, _TO_OPENPOSE]


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Column and row [8400, 2] of every cell, and its side [8400, 1] in pixels."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: BOX_INPUT[0] // stride, : BOX_INPUT[1] // stride]
        cells.append(np.stack([columns, rows], -1).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def _suppress_overlaps(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Indices of the boxes that no better one overlaps by more than the threshold, best first.

    Sides count whole pixels, both ends included, as in YOLOX's own post-processing.
    """
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[order, :2])
        opposite = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.maximum(0, opposite - corner + 1).prod(1)
        overlap = shared / (areas[best] + areas[order] - shared)
        order = order[overlap <= OVERLAP_THRESHOLD]
    return kept
