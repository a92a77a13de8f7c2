"""The paper's Table 2: the public part of TikTok's test split, dances 335 to 339, as DisCo counts.

    python prepare.py --videos TIKTOK --layout tiktok --output data/tiktok --dwpose MODELS
    python evaluate.py --config configs/eval/tiktok.py --weights runs/stage2/weights \\
        --json tiktok.json --report tiktok.html

Animates every frame of every dance from its first one at 768x768 and measures at 256x256; the FVD
is of all windows of 16 frames. `--config.eval.clips=1` tries it on one. The same command goes on
where it was interrupted. DisCo's own figures use 10 videos, of which 8 are not public: expect
figures beside, not like, the paper's (SSIM 0.718, LPIPS 0.285, FVD 171.9).
"""

from aa_jax.config import default_config


def get_config():
    config = default_config("eval_tiktok")
    config.data.update(source="data/tiktok", width=768, height=768)
    config.eval.update(protocol="disco_fixed", batch_size=1)
    return config
