"""How a puppet moves: every joint angle is an endless sum of sines, so motion is smooth.

Angles are in radians, 0 pointing straight down the picture and positive towards its right side;
lengths are fractions of the stage's side; time is in frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from aa_jax.puppets.characters import Body

FPS = 12.0
FAMILIES = ("wave", "walk", "dance", "general")
CHANNELS = (
    "sway",  # of the whole body, sideways
    "hop",  # above the ground
    "lean",  # of the torso; arms and head go along
    "tilt",  # of the head
    "yaw",  # of the head, -1 (to the picture's left) to 1
    "right_arm",
    "right_elbow",  # against the upper arm
    "left_arm",
    "left_elbow",
    "right_leg",
    "right_knee",  # against the thigh
    "left_leg",
    "left_knee",
)
HARMONICS = 3
SIDES = (("right", -1), ("left", 1))
"""The person's sides, and which way each lies in the picture while the person faces us."""

GROUND = 0.94
"""Height of the lower ankle, from the top of the stage."""

Wave = tuple[float, float, float]
"""Amplitude, hertz, phase in radians."""


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """Curves of all channels: base + sum over harmonics of amplitude * sin(frequency * t + phase).

    Attributes:
      family: one of `FAMILIES`.
      facing: -1 or 1 for a body turned half to the picture's left or right, 0 for a frontal one.
      base: [channels].
      amplitude, frequency, phase: [channels, harmonics]; frequencies in radians per frame.
    """

    family: str
    facing: int
    base: np.ndarray
    amplitude: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray

    @property
    def breadth(self) -> float:
        """How much of its shoulders' and hips' breadth a body turned aside shows."""
        return 1.0 - 0.45 * abs(self.facing)

    def curves(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Every channel by name, each [t]."""
        angle = self.frequency[:, :, None] * frames + self.phase[:, :, None]
        values = self.base[:, None] + (self.amplitude[:, :, None] * np.sin(angle)).sum(1)
        return dict(zip(CHANNELS, values, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
    """Where everything is, for `t` frames.

    Attributes:
      points: name -> [t, 2] positions in stage units, origin at the stage's upper left corner.
      angles: name -> [t] directions of the bones that start at the points of the same names.
      yaw: [t] head turn, -1 to 1.
    """

    points: dict[str, np.ndarray]
    angles: dict[str, np.ndarray]
    yaw: np.ndarray


class _Curves:
    """The channels of a motion while it is drawn, and the two tempos it is made of.

    Attributes:
      hertz: beats per second of the motion itself.
      slow: of the drift under it, which keeps repetitions from being the same.
      start: phase of the beat, in radians.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.hertz = rng.uniform(0.55, 0.9)
        self.slow = rng.uniform(0.12, 0.25)
        self.start = self.any_phase()
        self.base = np.zeros(len(CHANNELS))
        # Amplitude, radians per frame and phase of each wave.
        self.waves = np.zeros((3, len(CHANNELS), HARMONICS))

    def any_phase(self) -> float:
        return self.rng.uniform(0, 2 * np.pi)

    def beat(self, amplitude: float, lag: float = 0.0, pace: float = 1.0) -> Wave:
        """A wave in step with the motion, `lag` radians ahead of it."""
        return amplitude, pace * self.hertz, self.start + lag

    def free(self, amplitude: float, pace: float = 1.0) -> Wave:
        """A wave of the motion's tempo at a phase of its own."""
        return amplitude, pace * self.hertz, self.any_phase()

    def drift(self, amplitude: float) -> Wave:
        return amplitude, self.slow, self.any_phase()

    def set(self, channel: str, base: float, *waves: Wave) -> None:
        """Sets a channel's base and its first waves; further ones set before stay."""
        row = CHANNELS.index(channel)
        self.base[row] = base
        for column, (amplitude, hertz, phase) in enumerate(waves):
            self.waves[:, row, column] = amplitude, 2 * np.pi * hertz / FPS, phase


def draw_motion(rng: np.random.Generator) -> Motion:
    """A random motion of a random family."""
    family = FAMILIES[rng.integers(len(FAMILIES))]
    curves = _Curves(rng)
    # Every family sways, shifts its weight and looks about; it may replace what it moves itself.
    curves.set("sway", 0.0, curves.drift(0.014), curves.beat(0.009))
    curves.set("lean", 0.0, curves.drift(0.045), curves.beat(0.035, 0.6))
    curves.set("tilt", 0.0, curves.drift(0.1), curves.beat(0.1, 1.2))
    curves.set("yaw", 0.0, curves.drift(0.5), curves.free(0.3, 0.5))
    for side, sign in SIDES:
        curves.set(f"{side}_leg", sign * 0.1, curves.drift(0.06), curves.free(0.05))
        bend = rng.uniform(0.05, 0.2)
        curves.set(f"{side}_knee", -sign * bend, curves.free(bend))
    facing = 0
    if family == "wave":
        _wave(curves)
    elif family == "walk":
        facing = _walk(curves)
    elif family == "dance":
        _dance(curves)
    else:
        _general(curves)
    return Motion(family, facing, curves.base, *curves.waves)


def _wave(curves: _Curves) -> None:
    """One arm, sometimes both, raised and waving; the other one hangs."""
    rng = curves.rng
    waving = "right" if rng.uniform() < 0.5 else "left"
    for side, sign in SIDES:
        if side == waving or rng.uniform() < 0.3:
            raised = rng.uniform(1.9, 2.4)
            curves.set(f"{side}_arm", sign * raised, curves.drift(0.4), curves.free(0.2))
            curves.set(f"{side}_elbow", sign * 0.35, curves.free(0.7, 1.4))
        else:
            curves.set(f"{side}_arm", sign * 0.5, curves.drift(0.3), curves.free(0.15))
            curves.set(f"{side}_elbow", -sign * 0.3, curves.free(0.35))


def _walk(curves: _Curves) -> int:
    """Walking on the spot, half turned; returns where to."""
    rng = curves.rng
    facing = -1 if rng.uniform() < 0.5 else 1
    stride, swing = rng.uniform(0.42, 0.6), rng.uniform(0.55, 0.9)
    for side, sign in SIDES:
        lag = 0.0 if sign < 0 else np.pi
        curves.set(f"{side}_leg", 0.08 * facing, curves.beat(stride * facing, lag))
        bend = rng.uniform(0.35, 0.5)
        curves.set(f"{side}_knee", -facing * bend, curves.beat(facing * bend, lag - 1.9))
        curves.set(f"{side}_arm", 0.0, curves.beat(-swing * facing, lag))
        curves.set(f"{side}_elbow", facing * 0.5, curves.beat(-0.35 * facing, lag))
    curves.set("yaw", 0.75 * facing, curves.drift(0.2))
    curves.set("lean", 0.05 * facing, curves.beat(0.05, pace=2))
    return facing


def _dance(curves: _Curves) -> None:
    """Arms, legs and trunk in one beat, mirrored or alternating."""
    rng = curves.rng
    mirrored = rng.uniform() < 0.5
    arm, elbow = rng.uniform(0.55, 0.8), rng.uniform(0.5, 0.9)
    for side, sign in SIDES:
        lag = 0.0 if mirrored or sign < 0 else np.pi
        raised = sign * rng.uniform(1.2, 1.7)
        curves.set(f"{side}_arm", raised, curves.beat(sign * arm, lag), curves.drift(0.3))
        curves.set(f"{side}_elbow", sign * 0.4, curves.beat(sign * elbow, lag + 1.0))
        apart = sign * rng.uniform(0.2, 0.35)
        curves.set(f"{side}_leg", apart, curves.beat(sign * 0.18, lag), curves.drift(0.1))
        bend = rng.uniform(0.15, 0.3)
        curves.set(f"{side}_knee", -sign * bend, curves.beat(sign * bend, lag))
    curves.set("hop", 0.015, curves.beat(0.015, pace=2))
    curves.set("sway", 0.0, curves.drift(0.018), curves.beat(0.015))
    curves.set("lean", 0.0, curves.beat(0.09, 0.5), curves.drift(0.04))


def _general(curves: _Curves) -> None:
    """Every joint for itself."""
    rng = curves.rng
    for side, sign in SIDES:
        raised = sign * rng.uniform(0.7, 1.9)
        swing = curves.free(rng.uniform(0.4, 0.7))
        curves.set(f"{side}_arm", raised, swing, curves.drift(rng.uniform(0.2, 0.5)))
        bent = sign * rng.uniform(-0.3, 0.6)
        amplitude = rng.uniform(0.3, 0.9)
        curves.set(f"{side}_elbow", bent, curves.free(amplitude, rng.uniform(0.8, 1.3)))
        apart = sign * rng.uniform(0.1, 0.35)
        swing = curves.free(rng.uniform(0.05, 0.25))
        curves.set(f"{side}_leg", apart, swing, curves.drift(0.1))


def pose_at(body: Body, motion: Motion, frames: Sequence[int] | np.ndarray) -> Pose:
    """Forward kinematics: the curves of a motion on the bones of a body."""
    curve = motion.curves(np.asarray(frames, np.float64))
    lean = curve["lean"]
    angles = {"torso": lean, "head": lean + curve["tilt"]}
    for side, _ in SIDES:
        angles[f"{side}_upper_arm"] = curve[f"{side}_arm"] + lean
        angles[f"{side}_forearm"] = angles[f"{side}_upper_arm"] + curve[f"{side}_elbow"]
        angles[f"{side}_thigh"] = curve[f"{side}_leg"]
        angles[f"{side}_shin"] = curve[f"{side}_leg"] + curve[f"{side}_knee"]
    along = {name: np.stack([np.sin(a), np.cos(a)], -1) for name, a in angles.items()}
    across = np.stack([np.cos(lean), -np.sin(lean)], -1)

    # Legs first, from a pelvis at the origin; then the lowest foot is put on the ground. The soft
    # maximum keeps the pelvis smooth while the weight goes from one foot to the other.
    points = {"pelvis": np.zeros((len(lean), 2))}
    for side, sign in SIDES:
        hip = points["pelvis"] + sign * motion.breadth * body.hip * np.array([1.0, 0.0])
        points[f"{side}_thigh"] = hip
        points[f"{side}_shin"] = hip + body.thigh * along[f"{side}_thigh"]
        points[f"{side}_foot"] = points[f"{side}_shin"] + body.shin * along[f"{side}_shin"]
    depths = np.stack([points["right_foot"][:, 1], points["left_foot"][:, 1]])
    lowest = np.log(np.exp(60 * depths).sum(0)) / 60 - np.log(2) / 60
    pelvis = np.stack([0.5 + curve["sway"], GROUND - curve["hop"] - lowest], -1)
    points = {name: point + pelvis for name, point in points.items()}

    points["neck"] = points["pelvis"] - body.torso * along["torso"]
    for side, sign in SIDES:
        shoulder = points["neck"] + sign * motion.breadth * body.shoulder * across
        points[f"{side}_upper_arm"] = shoulder
        points[f"{side}_forearm"] = shoulder + body.upper_arm * along[f"{side}_upper_arm"]
        points[f"{side}_hand"] = points[f"{side}_forearm"] + body.forearm * along[f"{side}_forearm"]
    points["head"] = points["neck"] - (body.neck + body.head) * along["head"]
    return Pose(points=points, angles=angles, yaw=np.clip(curve["yaw"], -1, 1))
