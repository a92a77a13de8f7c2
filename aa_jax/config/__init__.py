"""Everything that can be set, as frozen dataclasses validated once.

weights     what a set of weights is
reference   what tells its denoising UNet of the reference picture
run         what a run of a script is
reading     how config files and `config.json` become these
overrides   how fields are changed on the command line
"""

from aa_jax.config.reading import ConfigError, from_dict
from aa_jax.config.reference import IPAdapterConfig, PromptConfig, ReferenceConfig
from aa_jax.config.run import (
    DataConfig,
    EvalConfig,
    InitConfig,
    MeshConfig,
    RunConfig,
    TrainConfig,
    default_config,
)
from aa_jax.config.weights import (
    ALL_NETWORKS,
    NETWORKS,
    AutoencoderConfig,
    ImageEncoderConfig,
    ModelConfig,
    MotionModuleConfig,
    NoiseScheduleConfig,
    PoseGuiderConfig,
    SamplingConfig,
    SkeletonConfig,
    UNetConfig,
    check_size,
)

__all__ = [
    "ALL_NETWORKS",
    "NETWORKS",
    "AutoencoderConfig",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "IPAdapterConfig",
    "ImageEncoderConfig",
    "InitConfig",
    "MeshConfig",
    "ModelConfig",
    "MotionModuleConfig",
    "NoiseScheduleConfig",
    "PoseGuiderConfig",
    "PromptConfig",
    "ReferenceConfig",
    "RunConfig",
    "SamplingConfig",
    "SkeletonConfig",
    "TrainConfig",
    "UNetConfig",
    "check_size",
    "default_config",
    "from_dict",
]
