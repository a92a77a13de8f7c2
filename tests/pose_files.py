"""Keypoint JSON as tools write it: one figure that walks to the right, in every format.

The figure is measured on a canvas of 320 x 480; its neck is at (140 + 4 t, 130) in frame t.
"""

import numpy as np

WIDTH, HEIGHT = 320, 480
CANVAS = {"canvas_width": WIDTH, "canvas_height": HEIGHT}
FRAMES = 4

# OpenPose's 18 joints.
BODY = np.array(
    [
        *((140, 90), (140, 130), (105, 132), (95, 180), (90, 225), (175, 132), (185, 180)),
        *((190, 225), (118, 240), (115, 320), (112, 400), (162, 240), (165, 320), (168, 400)),
        *((132, 82), (148, 82), (124, 86), (156, 86)),
    ],
    float,
)
NECK = 1
# Rows of OpenPose's joints that are COCO's 17.
COCO = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
COCO_NAMES = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
]


def body(t=0, shift=(0, 0)):
    """[18, 2] pixels."""
    return BODY + np.add((4 * t, 0), shift)


def hand(wrist):
    """[21, 2] pixels, spread downwards from a wrist."""
    return np.array(wrist) + [(k % 5 * 3 - 6, k) for k in range(21)]


def face(t=0):
    """[68, 2] pixels."""
    turns = np.linspace(0, 2 * np.pi, 68)
    return body(t)[0] + 15 * np.column_stack([np.cos(turns), np.sin(turns)])


def flat(points, score=0.9):
    """x, y, score of every point in one list."""
    scores = np.broadcast_to(score, len(points))
    return np.column_stack([points, scores]).ravel().round(6).tolist()


def rows(points, score=0.9):
    """x, y, score of every point, a list each."""
    return np.array(flat(points, score)).reshape(-1, 3).tolist()


def person(t=0, score=0.9, **more):
    """A person of OpenPose's with a body."""
    return {"pose_keypoints_2d": flat(body(t), score), **more}


def whole_person(t=0):
    """A person of OpenPose's with hands and face."""
    return person(
        t,
        hand_left_keypoints_2d=flat(hand(body(t)[7])),
        hand_right_keypoints_2d=flat(hand(body(t)[4])),
        face_keypoints_2d=flat(np.concatenate([face(t), np.zeros((2, 2))])),
    )


def frame(t=0, **head):
    """A frame of OpenPose's."""
    return {**head, "people": [person(t)]}


def body_25(t=0):
    """[25, 2]: OpenPose's larger body, with the middle of the hips and the feet."""
    points = body(t)
    return np.concatenate([points[:8], [points[[8, 11]].mean(0)], points[8:], np.full((6, 2), 470)])


def whole_body(t=0):
    """[133, 2]: COCO-WholeBody."""
    points = body(t)
    feet = np.tile(points[[13]], (6, 1))
    return np.concatenate([points[COCO], feet, face(t), hand(points[7]), hand(points[4])])


def instance(points, score=0.9):
    """A person of MMPose's."""
    return {
        "keypoints": np.asarray(points).tolist(),
        "keypoint_scores": [score] * len(points),
        "bbox": [[90.0, 80.0, 190.0, 400.0]],
        "bbox_score": 0.9,
    }


def mmpose(frames=FRAMES):
    """A video's predictions, as MMPose's demos save them."""
    names = {str(index): name for index, name in enumerate(COCO_NAMES)}
    return {
        "meta_info": {"dataset_name": "coco", "num_keypoints": 17, "keypoint_id2name": names},
        "instance_info": [
            {"frame_id": t + 1, "instances": [instance(body(t)[COCO])]} for t in range(frames)
        ],
    }


def result(image_id, t=0, **more):
    """A row of COCO's results."""
    keypoints = flat(body(t)[COCO])
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": 2.1, **more}


def whole_result(image_id, t=0):
    """A row of COCO-WholeBody's results."""
    return result(
        image_id,
        t,
        foot_kpts=flat(np.tile(body(t)[[13]], (6, 1))),
        face_kpts=flat(face(t)),
        lefthand_kpts=flat(hand(body(t)[7])),
        righthand_kpts=flat(hand(body(t)[4])),
    )


def alphapose(image_id, points, t=0):
    """A row of AlphaPose's list."""
    return {**result(image_id, t), "keypoints": flat(points), "box": [1, 2, 3, 4], "idx": [1]}


def data_set(frames=FRAMES):
    """COCO's annotations."""
    return {
        "images": [
            {"id": 100 - t, "file_name": f"{t}.jpg", "width": WIDTH, "height": HEIGHT}
            for t in range(frames)
        ],
        "annotations": [
            {"id": t, "image_id": 100 - t, "keypoints": flat(body(t)[COCO], 2), "iscrowd": 0}
            for t in range(frames)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": COCO_NAMES}],
    }


EXAMPLES = {
    "openpose": {"version": 1.3, **frame()},
    "openpose 1.1": {"people": [{"pose_keypoints": flat(body())}], **CANVAS},
    "body_25": {"people": [{"pose_keypoints_2d": flat(body_25())}], **CANVAS},
    "whole": {"people": [whole_person(), {"pose_keypoints_2d": None}], **CANVAS},
    "frames": {**CANVAS, "fps": 25, "frames": [frame(t) for t in range(FRAMES)]},
    "comfyui": [frame(t, **CANVAS) for t in range(FRAMES)],
    "comfyui, batches": [[frame(t, **CANVAS)] for t in range(FRAMES)],
    "comfyui, rows": [{"people": [{"pose_keypoints_2d": rows(body())}], **CANVAS}],
    "fractions": [{"people": [{"pose_keypoints_2d": flat(body() / [320, 480])}], **CANVAS}],
    "mmpose": mmpose(),
    "mmpose, a picture": [instance(body()[COCO])],
    "mmpose, wholebody": {"instance_info": [instance(whole_body())]},
    "mmpose, predictions": {"predictions": [[instance(body()[COCO])], []]},
    "coco": [result(t, t) for t in range(FRAMES)],
    "coco-wholebody": [whole_result(t, t) for t in range(FRAMES)],
    "coco, data set": data_set(),
    "alphapose": [alphapose(f"{t}.jpg", body(t)[COCO], t) for t in range(FRAMES)],
    "alphapose, open": {f"{t}.jpg": {"version": 0.1, **frame(t)} for t in range(FRAMES)},
    "alphapose, cmu": {
        f"{t}.jpg": {"version": 0.1, "bodies": [{"joints": flat(body(t))}]} for t in range(FRAMES)
    },
}
