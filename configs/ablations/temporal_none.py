"""Table 6, without temporal modelling: stage 1 alone, whose frames are sampled apart and joined.

    python train.py --config configs/ablations/temporal_none.py

The weights know no motion modules, so `sample.py` and `evaluate.py` sample every frame alone, from
noise of its own.

Cost: that of stage 1 (`configs/puppets_stage1.py`). At the paper's size add `:stage1`.

Expected row: the last of Table 6.
"""

from aa_jax.config import ConfigError
from configs.ablations import common


def get_config(base="puppets_stage1"):
    if common.is_second_stage(base):
        raise ConfigError("temporal_none has no second stage")
    return common.get_config("temporal_none", base)
