"""Table 6, two-stage: single frames first, then the motion modules alone, as the paper trains.

    python train.py --config configs/ablations/two_stage.py
    python train.py --config configs/ablations/two_stage.py:puppets_stage2

Cost: that of `configs/puppets_stage1.py` and `puppets_stage2.py`. At the paper's size add `:stage1`
and `:stage2`.

Expected row: the best of Table 6.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.get_config("two_stage", base)
