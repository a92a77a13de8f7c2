"""What the figures are called, which way is better, and how they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
      key: its name in JSON files.
      title: as tables show it.
      higher: whether more is better; None: neither is.
      form: of a number, as Python's `format` takes it.
    """

    key: str
    title: str
    higher: bool | None
    form: str = ".4f"

    @property
    def heading(self) -> str:
        """The title with an arrow towards the better."""
        return self.title + {True: " ↑", False: " ↓", None: ""}[self.higher]

    def text(self, value: float | None) -> str:
        """A figure, or a dash for one that is missing."""
        return "-" if value is None else format(value, self.form)


COLUMNS = (
    Column("psnr", "PSNR, dB", True, ".2f"),
    Column("psnr_disco_uint8", "PSNR (8-bit wrap), dB", None, ".2f"),
    Column("ssim", "SSIM", True),
    Column("l1", "L1", False, ".3g"),
    Column("lpips_alex", "LPIPS (AlexNet)", False),
    Column("lpips_vgg", "LPIPS (VGG16)", False),
    Column("fvd", "FVD", False, ".1f"),
    Column("fid", "FID", False, ".2f"),
    Column("fid_vid", "FID-VID", False, ".2f"),
    Column("character_psnr", "PSNR of the character, dB", True, ".2f"),
    Column("pattern_psnr", "PSNR of patterns, dB", True, ".2f"),
    Column("hand_psnr", "PSNR of hands, dB", True, ".2f"),
    Column("mae", "Mean absolute error", False),
    Column("temporal_error", "Temporal error", False),
    Column("background_flicker", "Background flicker", False),
    Column("lpips", "LPIPS", False, ".3f"),
)
"""In the order of tables. `lpips` is what the paper prints, without saying of which network."""


def of(keys: Iterable[str]) -> list[Column]:
    """Columns for figures of these names, known ones first, in the order of tables."""
    keys = list(dict.fromkeys(keys))
    known = [column for column in COLUMNS if column.key in keys]
    names = {column.key for column in known}
    return known + [Column(key, key, None) for key in keys if key not in names]
