"""The paper's Table 1: the test split of UBC Fashion, 100 videos, as DreamPose counts them.

    python prepare.py --videos UBC --layout ubc_fashion --output data/ubc_fashion --dwpose MODELS
    python evaluate.py --config configs/eval/ubc_fashion.py --weights runs/stage2/weights \\
        --json ubc_fashion.json --report ubc_fashion.html

Animates the first 50 frames of every video from its first one at 768x768, with the steps and the
guidance that the weights ask for, and measures at 256x256. `--config.eval.clips=4` tries it on four
clips. The same command goes on where it was interrupted. Expect figures beside, not like, the
paper's (SSIM 0.931, LPIPS 0.044, FVD 81.6): its settings are not known.
"""

from aa_jax.config import default_config


def get_config():
    config = default_config("eval_ubc_fashion")
    config.data.update(source="data/ubc_fashion", width=768, height=768)
    config.eval.update(protocol="dreampose_ubc", batch_size=1)
    return config
