"""What the ablations share: one of the four training configs with another reference.

Every file of this folder takes the config it varies behind a colon:

    configs/ablations/clip.py                   stage 1 in the puppet world (`puppets_stage1`)
    configs/ablations/clip.py:puppets_stage2    the motion modules after it
    configs/ablations/clip.py:stage1            the paper's stage 1, at Stable Diffusion 1.5's size
    configs/ablations/clip.py:stage2            the paper's stage 2

Runs are named, and put, after both: `runs/clip_puppets_stage1`. A second stage starts from the
weights of the first one's run; `--config.init.weights=DIR` takes others.
"""

import importlib

from aa_jax.config import ConfigError, ReferenceConfig

BASES = ("puppets_stage1", "puppets_stage2", "stage1", "stage2")


def get_config(name: str, base: str, **reference):
    """The config of a variant.

    Args:
      name: of the variant.
      base: one of `BASES`.
      reference: fields of `model.reference`.
    """
    config = base_config(base)
    config.name = f"{name}_{base}"
    config.model.reference.update(reference)
    networks = ReferenceConfig(**config.model.reference).networks
    if is_second_stage(base):
        config.init.update(weights=weights_of(name, first_stage(base)), networks=())
        return config
    learned = [n for n in config.train.trainable if n not in ("reference_unet", "image_encoder")]
    # In the puppet world nothing of what the paper freezes has been trained before.
    frozen = () if "image_encoder" in config.train.trainable else ("image_encoder", "resnet")
    learned += [n for n in networks if n not in frozen]
    config.train.trainable = tuple(learned)
    return config


def control_net(name: str, base: str, start: str, kind: str):
    """The config of a ControlNet: trained alone, on what half of the steps fine-tuned.

    Args:
      name: of the variant.
      base: one of `BASES`.
      start: the variant that fine-tuned Stable Diffusion.
      kind: `controlnet` or `clip_controlnet`.
    """
    config = get_config(name, base, kind=kind)
    if not is_second_stage(base):
        config.init.update(weights=weights_of(start, base), networks=())
        config.train.update(trainable=("controlnet",), steps=config.train.steps // 2)
    return config


def control_net_start(name: str, base: str, kind: str):
    """The config of what a ControlNet starts from: half of the steps, without it.

    Args:
      name: of the variant.
      base: a first stage.
      kind: of reference until then: `none` or `clip`.
    """
    if is_second_stage(base):
        raise ConfigError(f"{name} is a first stage; its second one is that of the ControlNet")
    config = get_config(name, base, kind=kind)
    config.train.steps //= 2
    return config


def base_config(base: str):
    """One of the four configs.

    Raises:
      ConfigError: there is no such config.
    """
    if base not in BASES:
        raise ConfigError(f"--config: {base!r} behind the colon is none of {', '.join(BASES)}")
    return importlib.import_module(f"configs.{base}").get_config()


def weights_of(name: str, base: str) -> str:
    """Where the run of a variant leaves its weights."""
    return f"runs/{name}_{base}/weights"


def is_second_stage(base: str) -> bool:
    """Whether the motion modules are what learns."""
    return base.endswith("stage2")


def first_stage(base: str) -> str:
    """The stage before."""
    return base.replace("stage2", "stage1")


def frames_seen(config) -> int:
    """Target frames that a run learns from."""
    return config.train.steps * config.train.batch_size * config.data.frames
