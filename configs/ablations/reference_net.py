"""Tables 4 and 5, "Ours": the paper's ReferenceNet, whose features spatial attention reads.

    python train.py --config configs/ablations/reference_net.py
    python train.py --config configs/ablations/reference_net.py:puppets_stage2

Cost: that of `configs/puppets_stage1.py` and `puppets_stage2.py`, which these are. At the paper's
size add `:stage1` and `:stage2`; `--dry_run` prints parameters, FLOPs and memory of any of them.

Expected row: the best of Table 4 (above CLIP & ControlNet, CLIP, ControlNet) and of Table 5.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.get_config("reference_net", base)
