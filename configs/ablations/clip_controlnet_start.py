"""Table 4, what "CLIP & ControlNet" starts from: half of the steps with the image embedding alone.

    python train.py --config configs/ablations/clip_controlnet_start.py

Cost: half of the steps of `clip.py`. At the paper's size add `:stage1`.

No row of its own: `configs/ablations/clip_controlnet.py` trains the other half of the steps.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.control_net_start("clip_controlnet_start", base, kind="clip")
