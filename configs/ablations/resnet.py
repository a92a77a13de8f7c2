"""Table 5, "ResNet": features of an ImageNet ResNet-50 in the place of the ReferenceNet's.

    python train.py --config configs/ablations/resnet.py
    python train.py --config configs/ablations/resnet.py:puppets_stage2

1x1 convolutions bring the features of each stage to the UNet level of its stride; spatial attention
reads them as it reads the ReferenceNet's. At the paper's size (`:stage1`, `:stage2`) the ResNet is
frozen and comes from torchvision's file:

    python -m convert resnet resnet50-0676ba61.pth --output start
    python train.py --config configs/ablations/resnet.py:stage1 --config.init.weights=start

In the puppet world, which has no such file, it learns from random numbers with the rest.

Cost: less than `reference_net` per step. Expected row: below the ReferenceNet.
"""

from configs.ablations import common


def get_config(base="puppets_stage1"):
    return common.get_config("resnet", base, kind="resnet")
