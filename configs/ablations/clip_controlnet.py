"""Table 4, "CLIP & ControlNet": image embedding and a ControlNet fed the reference picture.

    python train.py --config configs/ablations/clip_controlnet_start.py
    python train.py --config configs/ablations/clip_controlnet.py
    python train.py --config configs/ablations/clip_controlnet.py:puppets_stage2

Cost: as `configs/ablations/controlnet.py`. At the paper's size add `:stage1` and `:stage2`.

Expected row: the second of Table 4, little above CLIP alone.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.control_net(
        "clip_controlnet", base, start="clip_controlnet_start", kind="clip_controlnet"
    )
