"""The paper's Table 3: the test split of TED-talks at its own 384x384.

    python prepare.py --videos TED --layout ted_talks --output data/ted_talks --dwpose MODELS
    python evaluate.py --config configs/eval/ted_talks.py --weights runs/stage2/weights \\
        --json ted_talks.json --report ted_talks.html

Animates every frame of every talk from its first one and measures by the protocol `paper`, which
names its settings as assumed. `--config.eval.clips=4` tries it on four. The same command goes on
where it was interrupted. Expect figures beside, not like, the paper's (SSIM 0.832, LPIPS 0.159, FVD
80.5).
"""

from aa_jax.config import default_config


def get_config():
    config = default_config("eval_ted_talks")
    config.data.update(source="data/ted_talks", width=384, height=384)
    config.eval.update(protocol="paper", batch_size=1)
    return config
