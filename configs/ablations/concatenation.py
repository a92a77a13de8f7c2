"""Table 5, feature concatenation: the ReferenceNet's features without spatial attention.

    python train.py --config configs/ablations/concatenation.py
    python train.py --config configs/ablations/concatenation.py:puppets_stage2

Features are concatenated on channels before every transformer block of the denoising UNet; a 1x1
convolution, which starts as the identity on the UNet's own channels, brings them back.

Cost: a little less than `reference_net` per step, whose attention reads twice the keys. At the
paper's size add `:stage1` and `:stage2`.

Expected row: below spatial attention, since a feature reaches only the place it comes from.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.get_config("concatenation", base, fusion="concatenation")
