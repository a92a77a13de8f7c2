"""Table 4, "CLIP": the image embedding is all that tells of the reference picture.

    python train.py --config configs/ablations/clip.py
    python train.py --config configs/ablations/clip.py:puppets_stage2

Cost: about half of `reference_net`'s first stage per step, which has a second UNet. At the paper's
size add `:stage1` and `:stage2`; `--dry_run` prints what that takes.

Expected row: below ReferenceNet, near ControlNet and CLIP & ControlNet: colours and kind of the
clothes, without their details.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.get_config("clip", base, kind="clip")
