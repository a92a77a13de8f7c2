"""How results are measured, as data: what one number of a published table stands for.

A metric's name says little. The same pictures have an SSIM of 0.79 or 0.82 by its window, a PSNR of
22 or 29 dB by the width of a subtraction, and an FVD by the number of clips. So every result
carries its protocol, and only results of one protocol and one number of clips are comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from aa_jax.metrics.errors import MetricError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """A way to measure videos.

    Attributes:
      name: as in `--protocol`.
      about: whose it is, in one line.
      size: width and height that frames are brought to; None: they stay as they are.
      crop: `centre_square` before that, or `none`.
      resampling: Pillow's filter for it.
      unequal: what happens where a result has another size than its target: it is brought to that,
        or refused.
      first: the first frame of a video that counts, from 0.
      frames: how many count from there; None: all.
      colour: of SSIM: the mean over `rgb`, or of `grey` (8 bits, BT.601).
      ssim_window: `uniform_7` (sample covariance) or `gaussian_11` (deviation 1.5).
      psnr_wraps: whether the tables made so hold `psnr_disco_uint8`; both are always measured.
      l1: `fraction` of the full range; or `disco`: 0 to 255, over the number of pixels once more.
      lpips: `alex` or `vgg`, whichever the tables made so hold; both are always measured.
      lpips_zero_to_one: whether the network gets numbers from 0 to 1 instead of -1 to 1.
      clip_length: frames of a clip for FVD and FID-VID.
      clip_stride: frames from one frame of a clip to its next.
      clip_step: frames from one clip's start to the next one's.
      pooled: `frames`: means over the frames of all videos; `videos`: means of videos' means.
      assumed: fields that no source states and that were chosen here.
      notes: what else one has to know.
    """

    name: str
    about: str
    size: tuple[int, int] | None = None
    crop: Literal["centre_square", "none"] = "none"
    resampling: Literal["bilinear", "bicubic", "lanczos", "box"] = "bilinear"
    unequal: Literal["resize", "refuse"] = "refuse"
    first: int = 0
    frames: int | None = None
    colour: Literal["rgb", "grey"] = "rgb"
    ssim_window: Literal["uniform_7", "gaussian_11"] = "uniform_7"
    psnr_wraps: bool = False
    l1: Literal["fraction", "disco"] = "fraction"
    lpips: Literal["alex", "vgg"] = "alex"
    lpips_zero_to_one: bool = False
    clip_length: int = 16
    clip_stride: int = 1
    clip_step: int = 16
    pooled: Literal["frames", "videos"] = "frames"
    assumed: tuple[str, ...] = ()
    notes: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All fields, as they are stored beside results."""
        return dataclasses.asdict(self)


_DISCO_FIXED = Protocol(
    name="disco_fixed",
    about="DisCo's code since April 2024, with the PSNR it should have had",
    size=(256, 256),
    crop="centre_square",
    unequal="resize",
    colour="grey",
    l1="disco",
    lpips="vgg",
    lpips_zero_to_one=True,
    clip_step=1,
    notes="LPIPS gets numbers from 0 to 1, which its network was not trained on.",
)
_DISCO = dataclasses.replace(
    _DISCO_FIXED,
    name="disco",
    about="DisCo's code until April 2024, whose PSNR wraps around at 8 bits",
    psnr_wraps=True,
)
_PROTOCOLS = (
    _DISCO,
    _DISCO_FIXED,
    dataclasses.replace(
        _DISCO,
        name="magicanimate",
        about="MagicAnimate: DisCo's code and split, FVD over all test videos",
        assumed=("clip_step",),
        notes=_DISCO.notes + " Its own evaluation code was never published.",
    ),
    Protocol(
        name="dreampose_ubc",
        about="DreamPose on UBC Fashion: 256 pixels, 50 frames of every test video",
        size=(256, 256),
        crop="centre_square",
        frames=50,
        clip_step=16,
        assumed=(
            *("crop", "resampling", "colour", "ssim_window", "l1", "lpips", "lpips_zero_to_one"),
            *("clip_length", "clip_stride", "clip_step", "pooled"),
        ),
        notes="No evaluation code is published.",
    ),
    dataclasses.replace(
        _DISCO,
        name="paper",
        about="Animate Anyone: names its metrics, no settings; DisCo's code fits its figures",
        assumed=tuple(
            field.name
            for field in dataclasses.fields(Protocol)
            if field.name not in ("name", "about", "assumed", "notes")
        ),
        notes="Its PSNR of 35 dB and more comes out of the wrapping one only. " + _DISCO.notes,
    ),
    Protocol(
        name="puppets",
        about="the procedural characters: whole frames as they are, in colour",
        notes="One clip of a character's first 16 frames.",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _PROTOCOLS}
"""By name."""


def find(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
      MetricError: there is none; the message lists those there are.
    """
    if name not in PROTOCOLS:
        raise MetricError(f"protocol {name!r} is not known; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
