"""Table 6, one-stage: every network, motion modules too, trained at once on clips.

    python train.py --config configs/ablations/one_stage.py

Stage 1's networks, optimizer and start, stage 2's clips and batch, and as many steps as show both
stages' number of frames.

Cost: a step holds the activations of whole clips for all networks; `--dry_run` prints them. At the
paper's size add `:stage1`.

Expected row: below two-stage, above none, in Table 6.
"""

from aa_jax.config import ConfigError
from configs.ablations import common


def get_config(base="puppets_stage1"):
    if common.is_second_stage(base):
        raise ConfigError("one_stage has no second stage")
    config = common.get_config("one_stage", base)
    second = common.base_config(base.replace("stage1", "stage2"))
    frames = common.frames_seen(config) + common.frames_seen(second)
    config.model.motion_module.enabled = True
    config.data.frames = second.data.frames
    config.train.update(
        trainable=(*config.train.trainable, "motion_module"),
        batch_size=second.train.batch_size,
        accumulation_steps=second.train.accumulation_steps,
        steps=frames // (second.train.batch_size * second.data.frames),
        temporal_weight=second.train.temporal_weight,
    )
    config.eval.frames = second.eval.frames
    return config
