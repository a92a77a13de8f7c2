"""Who a puppet is: body proportions, colours, hair, clothes and what stands behind it.

All lengths are fractions of the stage's side (the shorter side of the picture).
"""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Iterable

import numpy as np

from aa_jax.puppets.patterns import PATTERNS

HAIR_STYLES = ("short", "bob", "long", "bun", "tails", "spiky", "beanie", "curly", "bald")
BACKGROUNDS = ("plain", "gradient", "tiles", "horizon", "blobs", "room", "stripes")
SLEEVES = ("none", "short", "long")
LEGWEAR = ("trousers", "shorts", "skirt", "dress")

SKINS = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (172, 118, 76), (126, 80, 50))
HAIRS = (
    (38, 28, 24),
    (92, 54, 30),
    (148, 88, 40),
    (226, 184, 96),
    (196, 70, 36),
    (180, 180, 190),
    (90, 60, 150),
    (230, 110, 160),
    (50, 120, 170),
)

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


@dataclasses.dataclass(frozen=True)
class Fabric:
    """Pattern, its three colours (0 to 255) and the length of one repeat."""

    pattern: str
    colors: tuple[Color, ...]
    repeat: float


@dataclasses.dataclass(frozen=True)
class Body:
    """Bone lengths, and half-widths of the limbs at their ends."""

    torso: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    neck: float
    head: float
    head_aspect: float
    arm_width: float
    leg_width: float
    hand: float

    @property
    def head_radii(self) -> tuple[float, float]:
        """Half-width and half-height of the skull."""
        return self.head * 0.9 * self.head_aspect, self.head


@dataclasses.dataclass(frozen=True)
class Character:
    """Everything that does not change during a clip, except the background."""

    body: Body
    skin: Color
    hair: Color
    hair_style: str
    eyes: Color
    smile: float
    top: Fabric
    sleeves: str
    bottom: Fabric
    legwear: str
    shoes: Color
    socks: Color


@dataclasses.dataclass(frozen=True)
class Background:
    """A static picture: its kind, colours, and numbers in [0, 1) that place its details."""

    kind: str
    colors: tuple[Color, ...]
    numbers: tuple[float, ...]


def draw_character(rng: np.random.Generator) -> Character:
    """A random character."""
    build = rng.uniform(0.88, 1.12)
    tall = rng.uniform(0.88, 1.03)  # heads vary less: small people have relatively large ones
    limb = tall * rng.uniform(0.94, 1.06)
    body = Body(
        torso=tall * rng.uniform(0.21, 0.25),
        shoulder=rng.uniform(0.078, 0.1),
        hip=rng.uniform(0.042, 0.056),
        upper_arm=0.125 * limb * rng.uniform(0.94, 1.06),
        forearm=0.115 * limb * rng.uniform(0.94, 1.06),
        thigh=tall * rng.uniform(0.145, 0.17),
        shin=tall * rng.uniform(0.14, 0.165),
        neck=rng.uniform(0.016, 0.03),
        head=rng.uniform(0.084, 0.106),
        head_aspect=rng.uniform(0.86, 1.04),
        arm_width=0.033 * build * rng.uniform(0.9, 1.1),
        leg_width=0.044 * build * rng.uniform(0.9, 1.1),
        hand=rng.uniform(0.026, 0.033),
    )
    hue = rng.uniform()
    top = _fabric(rng, hue, PATTERNS)
    bottom = _fabric(rng, hue + rng.uniform(0.25, 0.75), (*PATTERNS, "plain", "plain", "plain"))
    return Character(
        body=body,
        skin=_jitter(rng, SKINS[rng.integers(len(SKINS))], 8),
        hair=_jitter(rng, HAIRS[rng.integers(len(HAIRS))], 12),
        hair_style=HAIR_STYLES[rng.integers(len(HAIR_STYLES))],
        eyes=_hsv(rng.uniform(), 0.6, 0.35),
        smile=float(rng.uniform(-0.2, 1.0)),
        top=top,
        sleeves=SLEEVES[rng.choice(3, p=(0.2, 0.35, 0.45))],
        bottom=bottom,
        legwear=LEGWEAR[rng.choice(4, p=(0.45, 0.2, 0.2, 0.15))],
        shoes=_hsv(rng.uniform(), rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9)),
        socks=_hsv(rng.uniform(), rng.uniform(0.0, 0.6), rng.uniform(0.6, 1.0)),
    )


def draw_background(rng: np.random.Generator) -> Background:
    """A random background, softer in colour than clothes are."""
    hue, value = rng.uniform(), rng.uniform(0.5, 0.8)
    colors = tuple(
        _hsv(
            hue + rng.normal() * 0.08,
            rng.uniform(0.08, 0.4),
            np.clip(value + rng.uniform(-0.1, 0.1), 0.3, 1.0),
        )
        for _ in range(3)
    )
    kind = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    return Background(kind=kind, colors=colors, numbers=tuple(rng.uniform(size=24)))


def _fabric(rng: np.random.Generator, hue: float, patterns: Iterable[str]) -> Fabric:
    """A pattern whose colours differ clearly: the first two by lightness, too."""
    names = list(patterns)
    light = _hsv(hue + rng.normal() * 0.05, rng.uniform(0.15, 0.55), rng.uniform(0.8, 0.95))
    dark = _hsv(hue + rng.uniform(-0.35, 0.35), rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.62))
    third = _hsv(hue + rng.uniform(0.3, 0.7), rng.uniform(0.5, 0.8), rng.uniform(0.55, 0.9))
    colors = (light, dark, third) if rng.uniform() < 0.5 else (dark, light, third)
    return Fabric(
        pattern=names[rng.integers(len(names))],
        colors=colors,
        repeat=float(rng.uniform(0.05, 0.08)),
    )


def _hsv(hue: float, saturation: float, value: float) -> Color:
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1.0, saturation, float(value)))


def _jitter(rng: np.random.Generator, color: Color, spread: float) -> Color:
    return tuple(int(c) for c in np.clip(np.array(color) + rng.normal(size=3) * spread, 0, 255))
