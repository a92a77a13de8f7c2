"""Table 4, "ControlNet": one fed the reference picture, on a fine-tuned Stable Diffusion.

    python train.py --config configs/ablations/controlnet_start.py
    python train.py --config configs/ablations/controlnet.py
    python train.py --config configs/ablations/controlnet.py:puppets_stage2

The ControlNet starts as a copy of the fine-tuned UNet's way down behind convolutions of zeros, and
is all that learns in the second half of stage 1's steps; motion modules follow as ever. It sees no
image embedding.

Cost: half of the steps of stage 1, each less than one of `reference_net`; sampling runs the
ControlNet at every step. At the paper's size add `:stage1` and `:stage2`.

Expected row: the last of Table 4, since the reference is aligned with no frame but its own pose.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.control_net("controlnet", base, start="controlnet_start", kind="controlnet")
