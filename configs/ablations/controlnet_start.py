"""Table 4, what "ControlNet" starts from: Stable Diffusion fine-tuned without a reference.

    python train.py --config configs/ablations/controlnet_start.py

Cost: half of the steps of stage 1, each about half of `reference_net`'s. At the paper's size add
`:stage1`.

No row of its own: `configs/ablations/controlnet.py` trains the other half of the steps.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.control_net_start("controlnet_start", base, kind="none")
