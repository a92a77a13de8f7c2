"""The sprites of one character: limbs, clothes, head, face and hair."""

from __future__ import annotations

import math

import numpy as np

from aa_jax.puppets.characters import Character
from aa_jax.puppets.motion import Motion
from aa_jax.puppets.sprites import Brush, Sprite, blob, limb


def make_sprites(character: Character, motion: Motion, density: float) -> dict[str, Sprite]:
    """All sprites of a character, `density` pixels per stage unit."""
    return {
        **_arm_sprites(character, density),
        **_leg_sprites(character, motion, density),
        **_trunk_sprites(character, motion, density),
        **_head_sprites(character, density),
    }


def _arm_sprites(character: Character, density: float) -> dict[str, Sprite]:
    body, skin, top = character.body, character.skin, character.top
    wide, hand = body.arm_width, body.hand
    upper = forearm = [(0.0, skin)]
    if character.sleeves == "short":
        upper = [(0.0, top), (0.65 * body.upper_arm, skin)]
    elif character.sleeves == "long":
        upper, forearm = [(0.0, top)], [(0.0, top), (0.88 * body.forearm, skin)]
    return {
        "upper_arm": limb(body.upper_arm, wide * 1.05, wide * 0.92, density, upper),
        "forearm": limb(body.forearm, wide * 0.92, wide * 0.7, density, forearm),
        "hand": limb(hand * 0.9, hand * 0.72, hand * 0.85, density, [(0.0, skin)]),
    }


def _leg_sprites(character: Character, motion: Motion, density: float) -> dict[str, Sprite]:
    body, skin, bottom, wide = (
        character.body,
        character.skin,
        character.bottom,
        character.body.leg_width,
    )
    thigh, shin = [(0.0, skin)], [(0.0, skin), (0.7 * body.shin, character.socks)]
    if character.legwear == "shorts":
        thigh = [(0.0, bottom), (0.8 * body.thigh, skin)]
    elif character.legwear == "trousers":
        thigh, shin = [(0.0, bottom)], [(0.0, bottom), (0.93 * body.shin, character.socks)]
    sprites = {
        "thigh": limb(body.thigh, wide * 1.1, wide * 0.92, density, thigh),
        "shin": limb(body.shin, wide * 0.92, wide * 0.7, density, shin),
    }
    for side, sign in (("right", -1), ("left", 1)):
        toe = (motion.facing or sign) * (0.045 if motion.facing else 0.024)
        sole = [(-0.012, -0.004), (0.012, -0.004), (toe + 0.012, 0.012), (toe - 0.012, 0.012)]
        sprites[f"{side}_shoe"] = blob(sole, 0.021, density, character.shoes)
    return sprites


def _trunk_sprites(character: Character, motion: Motion, density: float) -> dict[str, Sprite]:
    body, skin, top, bottom = character.body, character.skin, character.top, character.bottom
    dress = character.legwear == "dress"
    chest = motion.breadth * body.shoulder
    hip = motion.breadth * body.hip + 0.025
    waist, middle, low = 0.82 * chest + 0.004, 0.6 * body.torso, body.torso + 0.008
    torso = [(-chest, 0.012), (chest, 0.012), (waist, middle), (hip, low), (-hip, low)]
    hips = [(-hip, -0.012), (hip, -0.012), (0.6 * hip, 0.03), (-0.6 * hip, 0.03)]
    sprites = {
        "neck": limb(body.neck + 0.02, 0.026, 0.026, density, [(0.0, skin)]),
        "torso": blob([*torso, (-waist, middle)], 0.026, density, top),
        "hips": blob(hips, 0.024, density, skin if dress else bottom),
    }
    if character.legwear in ("skirt", "dress"):
        hem, drop = hip + 0.045, 0.62 * body.thigh
        skirt = [(-hip, -0.02), (hip, -0.02), (hem, drop), (-hem, drop)]
        sprites["skirt"] = blob(skirt, 0.02, density, top if dress else bottom)
    return sprites


# The head: the origin is its middle; rx and ry are the skull's half-width and half-height.


def _head_sprites(character: Character, density: float) -> dict[str, Sprite]:
    rx, ry = character.body.head_radii
    box = (-1.9 * rx, -1.6 * ry, 1.9 * rx, 2.6 * ry)
    style = character.hair_style
    layers = [("skull", _draw_skull, character.skin)]
    if style in ("long", "bob", "bun", "tails", "curly"):
        layers.append(("hair_back", _draw_hair_back, character.hair))
    if style != "bald":
        filling = character.top if style == "beanie" else character.hair
        layers.append(("hair_front", _draw_hair_front, filling))
    sprites = {"face": _face(character, density)}
    for name, draw, filling in layers:
        brush = Brush(box, density)
        brush.fill(filling)
        sprites[name] = brush.cut(
            lambda mask, rim, draw=draw, brush=brush: draw(brush, mask, rim, style, rx, ry)
        )
    return sprites


def _draw_skull(
    brush: Brush, mask: np.ndarray, rim: float, style: str, rx: float, ry: float
) -> None:
    brush.ellipse(mask, 0, 0, rx - rim, ry - rim)
    for sign in (-1, 1):
        brush.ellipse(mask, sign * 0.96 * rx, 0.1 * ry, 0.2 * rx - rim, 0.22 * ry - rim)


def _draw_hair_back(
    brush: Brush, mask: np.ndarray, rim: float, style: str, rx: float, ry: float
) -> None:
    """Hair behind head and shoulders."""
    if style == "long":
        brush.ellipse(mask, 0, -0.05 * ry, 1.16 * rx - rim, 1.12 * ry - rim)
        upper, lower, end = 1.16 * rx - rim, 1.25 * rx - rim, 2.1 * ry - rim
        brush.polygon(mask, [(-upper, 0), (upper, 0), (lower, end), (-lower, end)])
    elif style == "bob":
        brush.ellipse(mask, 0, 0.05 * ry, 1.26 * rx - rim, 1.18 * ry - rim)
    elif style == "bun":
        brush.ellipse(mask, 0, -1.1 * ry, 0.48 * rx - rim, 0.42 * ry - rim)
    elif style == "tails":
        for sign in (-1, 1):
            brush.ellipse(
                mask, sign * 1.35 * rx, 0.35 * ry, 0.34 * rx - rim, 0.85 * ry - rim, turn=-15 * sign
            )
    elif style == "curly":
        for curl in range(11):
            angle = math.pi * (0.9 + 1.2 * curl / 10)
            x, y = 1.02 * rx * math.cos(angle), 0.98 * ry * math.sin(angle)
            brush.ellipse(mask, x, y, 0.36 * rx - rim, 0.34 * ry - rim)


def _draw_hair_front(
    brush: Brush, mask: np.ndarray, rim: float, style: str, rx: float, ry: float
) -> None:
    """Hair or a hat on the skull, above the face."""
    upper_half = (180.0, 360.0)
    if style == "beanie":
        brush.ellipse(mask, 0, -0.3 * ry, 1.1 * rx - rim, 0.86 * ry - rim, arc=upper_half)
        brush.ellipse(mask, 0, -1.18 * ry, 0.24 * rx - rim, 0.22 * ry - rim)
        return
    brush.ellipse(mask, 0, -0.28 * ry, 1.06 * rx - rim, 0.8 * ry - rim, arc=upper_half)
    if style == "spiky":
        for spike in range(9):
            angle = math.pi * (1.04 + 0.115 * spike)
            corners = [(angle - 0.26, 0.9), (angle + 0.26, 0.9), (angle + 0.1, 1.34)]
            brush.polygon(mask, [(r * rx * math.cos(a), r * ry * math.sin(a)) for a, r in corners])
    elif style in ("bob", "long", "tails"):
        for sign in (-1, 1):  # a fringe parted in the middle
            brush.ellipse(mask, sign * 0.62 * rx, -0.3 * ry, 0.5 * rx - rim, 0.3 * ry - rim)
    elif style == "short":
        brush.ellipse(mask, -0.45 * rx, -0.34 * ry, 0.62 * rx - rim, 0.28 * ry - rim, turn=-14)


def _face(character: Character, density: float) -> Sprite:
    """Eyes, brows, nose, mouth and cheeks, without a rim."""
    rx, ry = character.body.head_radii
    skin = np.array(character.skin)
    nose = (*(int(c * 0.45) for c in skin), 255)
    blush = (*np.clip(skin * [1.02, 0.78, 0.78], 0, 255).astype(int).tolist(), 255)
    brow = (*(int(c * 0.7) for c in character.hair), 255)
    white, pupil, red = (255, 255, 255, 255), (20, 16, 20, 255), (150, 40, 50, 255)
    brush = Brush((-rx, -ry, rx, ry), density)
    # Empty pixels have the skin's colour, which turning the sprite mixes into its edges.
    brush.fill(character.skin)
    picture = brush.picture
    for sign in (-1, 1):
        x, y = sign * 0.4 * rx, 0.1 * ry
        brush.ellipse(picture, sign * 0.62 * rx, 0.44 * ry, 0.17 * rx, 0.11 * ry, blush)
        brush.ellipse(picture, x, y, 0.2 * rx, 0.22 * ry, white)
        brush.ellipse(picture, x, y + 0.02 * ry, 0.135 * rx, 0.16 * ry, (*character.eyes, 255))
        brush.ellipse(picture, x, y + 0.02 * ry, 0.07 * rx, 0.09 * ry, pupil)
        brush.ellipse(picture, x + 0.04 * rx, y - 0.06 * ry, 0.04 * rx, 0.04 * ry, white)
        brush.ellipse(
            picture, x, y - 0.12 * ry, 0.2 * rx, 0.16 * ry, brow, arc=(215.0, 325.0), stroke=0.008
        )
    brush.ellipse(picture, 0, 0.3 * ry, 0.07 * rx, 0.06 * ry, nose)
    # A smile is the lower arc of an ellipse, open if it is a broad one.
    depth = (0.05 + 0.17 * max(character.smile, 0.0)) * ry
    stroke = None if character.smile > 0.6 else 0.012
    brush.ellipse(picture, 0, 0.5 * ry, 0.3 * rx, depth, red, arc=(0.0, 180.0), stroke=stroke)
    return brush.sprite()
