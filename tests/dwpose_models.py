"""Two tiny ONNX networks in the shape of DWPose's, whose answers are known.

The person detector finds fixed boxes, each as likely as the picture is blue. The pose network
finds all 133 points at the brightest column and row of green in its crop.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aa_jax.pose.dwpose import NUM_WHOLEBODY_POINTS

CLASSES = 80


def answer_for(box, class_scores, *, stride=32, cell=(0, 0)):
    """YOLOX's raw row for a box (x0, y0, x1, y1 in its 640 x 640 input) in a cell (column, row)."""
    x0, y0, x1, y1 = box
    center = np.array([x0 + x1, y0 + y1]) / 2 / stride - cell
    size = np.log(np.array([x1 - x0, y1 - y0]) / stride)
    return np.concatenate([center, size, [1.0], class_scores])


def index_of(cell, stride):
    """Row, among 8400, of a cell (column, row) of the grid of a stride."""
    before = {8: 0, 16: 6400, 32: 8000}[stride]
    return before + cell[1] * (640 // stride) + cell[0]


def write_detector(path, boxes):
    """A detector that finds `boxes`, a list of (x0, y0, x1, y1, person score).

    Scores are multiplied by the mean of blue / 255 over the letterboxed picture's upper left pixel
    block of 8 x 8.
    """
    rows = np.zeros((1, 8400, 85), np.float32)
    for k, (*box, score) in enumerate(boxes):
        stride, cell = (8, 16, 32)[k % 3], (3 + k, 5)
        class_scores = np.zeros(CLASSES)
        class_scores[0] = score
        row = answer_for(box, class_scores, stride=stride, cell=cell)
        rows[0, index_of(cell, stride)] = row
    is_objectness = np.zeros((1, 1, 85), np.float32)
    is_objectness[..., 4] = 1
    constants = {
        "rows": rows,
        "is_objectness": is_objectness,
        "rest": 1 - is_objectness,
        "starts": np.array([0, 0, 0], np.int64),
        "ends": np.array([1, 8, 8], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "white": np.array(255.0, np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["picture", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("ReduceMean", ["corner"], ["level"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["level", "white"], ["blue"]),
        helper.make_node("Mul", ["is_objectness", "blue"], ["share"]),
        helper.make_node("Add", ["share", "rest"], ["factors"]),
        helper.make_node("Mul", ["rows", "factors"], ["output"]),
    ]
    outputs = {"output": [1, 8400, 85]}
    _write(path, nodes, constants, {"picture": [1, 3, 640, 640]}, outputs)


def write_pose(path, gains=None, *, batch="n"):
    """A pose network that finds every point at the greenest column and row of its crop.

    Args:
      gains: [133] factor of each point's score; by default 1.
      batch: first dimension of the input: a name for any, or 1.
    """
    gains = np.ones(NUM_WHOLEBODY_POINTS) if gains is None else np.asarray(gains)
    constants = {
        "gains": gains.astype(np.float32)[None, :, None],
        "starts": np.array([1], np.int64),
        "ends": np.array([2], np.int64),
        "axes": np.array([1], np.int64),
        "two": np.array([1, 1, 1, 2], np.int64),
        "last": np.array([3], np.int64),
    }
    nodes = [helper.make_node("Slice", ["picture", "starts", "ends", "axes"], ["green"])]
    for name, across, bins in (("x", 2, 576), ("y", 3, 768)):
        constants[f"{name}_shape"] = np.array([-1, 1, bins], np.int64)
        nodes += [
            helper.make_node("ReduceMax", ["green"], [f"{name}_max"], axes=[across], keepdims=0),
            helper.make_node("Unsqueeze", [f"{name}_max", "last"], [f"{name}_column"]),
            helper.make_node("Tile", [f"{name}_column", "two"], [f"{name}_pairs"]),
            helper.make_node("Reshape", [f"{name}_pairs", f"{name}_shape"], [f"{name}_bins"]),
            helper.make_node("Mul", [f"{name}_bins", "gains"], [f"simcc_{name}"]),
        ]
    outputs = {"simcc_x": [batch, 133, 576], "simcc_y": [batch, 133, 768]}
    _write(path, nodes, constants, {"picture": [batch, 3, 384, 288]}, outputs)


def _write(path, nodes, constants, inputs, outputs):
    def describe(shapes):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    graph = helper.make_graph(
        nodes,
        "tiny",
        describe(inputs),
        describe(outputs),
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
