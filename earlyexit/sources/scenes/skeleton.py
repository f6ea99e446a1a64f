"""Poses: joint angles drawn at random, a jointed skeleton in three dimensions, its projection."""

import math
from dataclasses import dataclass, field

from earlyexit.sources.scenes.dice import Dice

Vector = tuple[float, float, float]
"""x to the right of the picture, y up, z towards the viewer; in body heights."""

# Lengths of the grown-up body, in body heights.
TORSO = 0.29
NECK = 0.045
HEAD = 0.08
SHOULDER = 0.105
HIP = 0.06
UPPER_ARM = 0.165
FOREARM = 0.14
HAND = 0.045
THIGH = 0.245
SHIN = 0.235
FOOT = 0.085


@dataclass(slots=True)
class LimbAngles:
    """One arm or leg, radians: forward swing, sideways spread, bend of the elbow or knee."""

    swing: float = 0.0
    spread: float = 0.1
    bend: float = 0.1


@dataclass(slots=True)
class Pose:
    """Joint angles (radians). `yaw` 0 faces the viewer; `roll` turns the whole body in the picture."""

    yaw: float = 0.0
    roll: float = 0.0
    lean: float = 0.0
    sway: float = 0.0
    head_yaw: float = 0.0
    head_tilt: float = 0.0
    arms: list[LimbAngles] = field(default_factory=lambda: [LimbAngles(), LimbAngles()])
    legs: list[LimbAngles] = field(default_factory=lambda: [LimbAngles(), LimbAngles()])
    seated: bool = False


@dataclass(slots=True)
class Skeleton:
    """Joints (each a Vector; of pairs the left one first), after yaw and roll."""

    neck: Vector
    head: Vector
    face: Vector
    up: Vector
    shoulders: list[Vector]
    elbows: list[Vector]
    wrists: list[Vector]
    hands: list[Vector]
    hips: list[Vector]
    knees: list[Vector]
    ankles: list[Vector]
    toes: list[Vector]

    def lowest(self) -> float:
        """Return the height of the joint that touches the ground, allowing for the width of head and trunk."""
        ends = (*self.hands, *self.elbows, *self.knees, *self.ankles, *self.toes)
        trunk = (*self.shoulders, *self.hips)
        return min(*(joint[1] for joint in ends), *(joint[1] - 0.04 for joint in trunk), self.head[1] - HEAD)


KINDS = (
    ("stand", 0.41), ("walk", 0.25), ("run", 0.06), ("sit", 0.14), ("crouch", 0.04), ("bend", 0.03), ("lie", 0.04),
    ("free", 0.03),
)  # fmt: skip


def random_pose(dice: Dice) -> Pose:
    """Return a pose: standing, walking, running, sitting, crouching, bending, lying or any."""
    kind = dice.weighted(KINDS)
    pose = Pose(
        yaw=_yaw(dice),
        roll=dice.spread(0.1),
        lean=dice.spread(0.12),
        sway=dice.spread(0.12),
        head_yaw=dice.spread(0.7),
        head_tilt=dice.spread(0.35),
    )
    pose.arms = [_arm(dice), _arm(dice)]
    if dice.chance(0.4):
        one = pose.arms[0]
        pose.arms[1] = LimbAngles(one.swing + dice.spread(0.3), one.spread + dice.spread(0.2), one.bend)
    if kind == "stand":
        pose.legs = [
            LimbAngles(dice.spread(0.15), dice.uniform(0.0, 0.22), dice.uniform(0, 0.25) * dice.whole(0, 1))
            for _ in range(2)
        ]
    elif kind in ("walk", "run"):
        _stride(dice, pose, fast=kind == "run")
    elif kind == "sit":
        pose.seated = True
        pose.lean = dice.uniform(-0.3, 0.35)
        pose.legs = [
            LimbAngles(dice.uniform(1.25, 1.75), dice.uniform(0, 0.35), dice.uniform(0.9, 1.9)) for _ in range(2)
        ]
    elif kind == "crouch":
        pose.lean = dice.uniform(0.2, 0.8)
        pose.legs = [
            LimbAngles(dice.uniform(1.3, 2.2), dice.uniform(0.1, 0.5), dice.uniform(1.9, 2.5)) for _ in range(2)
        ]
    elif kind == "bend":
        pose.lean = dice.uniform(0.6, 1.6)
        pose.legs = [LimbAngles(dice.spread(0.2), dice.uniform(0, 0.2), dice.uniform(0, 0.5)) for _ in range(2)]
        pose.arms = [LimbAngles(dice.uniform(0, 1.4), dice.uniform(0, 0.2), dice.uniform(0, 0.6)) for _ in range(2)]
    else:
        pose.legs = [
            LimbAngles(dice.uniform(-0.5, 1.6), dice.uniform(-0.05, 0.7), dice.uniform(0, 1.8)) for _ in range(2)
        ]
        if kind == "lie":
            pose.roll = dice.side() * dice.uniform(1.25, 1.75)
        else:
            pose.roll = dice.spread(0.7)
            pose.lean = dice.uniform(-0.3, 0.6)
    return pose


def build(pose: Pose, *, head_scale: float = 1.0) -> Skeleton:
    """Return the joints of a body of height 1 in `pose`, the pelvis at the origin."""
    up = (math.sin(pose.sway), math.cos(pose.sway) * math.cos(pose.lean), math.sin(pose.lean))
    neck = _step((0.0, 0.0, 0.0), up, TORSO)
    head_up = _normal((up[0] + math.sin(pose.head_tilt), up[1] + 0.35, up[2]))
    head = _step(neck, head_up, NECK + HEAD * head_scale * 0.95)
    face = (math.sin(pose.head_yaw), -0.05, math.cos(pose.head_yaw))
    shoulders, elbows, wrists, hands = [], [], [], []
    hips, knees, ankles, toes = [], [], [], []
    for side, arm, leg in zip((-1, 1), pose.arms, pose.legs, strict=True):
        shoulder = (neck[0] + side * SHOULDER, neck[1] - 0.025, neck[2])
        elbow = _step(shoulder, _down(arm.swing, side * arm.spread), UPPER_ARM)
        forearm = _down(arm.swing + arm.bend, side * arm.spread * 0.4 - side * 0.3 * math.sin(arm.bend))
        wrist = _step(elbow, forearm, FOREARM)
        shoulders.append(shoulder)
        elbows.append(elbow)
        wrists.append(wrist)
        hands.append(_step(wrist, forearm, HAND))
        hip = (side * HIP, 0.0, 0.0)
        knee = _step(hip, _down(leg.swing, side * leg.spread), THIGH)
        shin = leg.swing - leg.bend
        ankle = _step(knee, _down(shin, side * leg.spread * 0.6), SHIN)
        toe = _down(min(shin + 1.45, 1.7) if shin > -1.2 else shin + 0.6, side * 0.25)
        hips.append(hip)
        knees.append(knee)
        ankles.append(ankle)
        toes.append(_step(ankle, toe, FOOT))
    turn = _Turn(pose.yaw, pose.roll)
    groups = [[turn(joint) for joint in group] for group in (shoulders, elbows, wrists, hands)]
    lower = [[turn(joint) for joint in group] for group in (hips, knees, ankles, toes)]
    return Skeleton(turn(neck), turn(head), turn(face), turn(head_up), *groups, *lower)


def _yaw(dice: Dice) -> float:
    kind = dice.random()
    if kind < 0.62:
        return dice.spread(0.9)
    if kind < 0.9:
        return dice.side() * (math.pi / 2 + dice.spread(0.5))
    return math.pi + dice.spread(0.9)


def _arm(dice: Dice) -> LimbAngles:
    kind = dice.random()
    if kind < 0.42:
        return LimbAngles(dice.spread(0.3), dice.uniform(0.05, 0.3), dice.uniform(0, 0.5))
    if kind < 0.55:
        return LimbAngles(dice.uniform(-0.5, -0.1), dice.uniform(0.4, 0.8), dice.uniform(1.2, 1.9))
    if kind < 0.75:
        return LimbAngles(dice.uniform(0, 0.8), dice.uniform(0.05, 0.3), dice.uniform(1.0, 2.2))
    if kind < 0.87:
        return LimbAngles(dice.uniform(0.9, 1.7), dice.uniform(0.0, 0.5), dice.uniform(0, 0.7))
    if kind < 0.94:
        return LimbAngles(dice.spread(0.3), dice.uniform(1.0, 1.7), dice.uniform(0, 0.6))
    return LimbAngles(dice.uniform(2.3, 3.1), dice.uniform(0.0, 0.5), dice.uniform(0, 0.9))


def _stride(dice: Dice, pose: Pose, *, fast: bool) -> None:
    reach = dice.uniform(0.5, 1.0) if fast else dice.uniform(0.2, 0.5)
    lead = dice.whole(0, 1)
    front = LimbAngles(reach, 0.05, dice.uniform(0.3, 1.2) if fast else dice.uniform(0, 0.25))
    back = LimbAngles(-reach * 0.8, 0.05, dice.uniform(0.7, 1.6) if fast else dice.uniform(0.2, 0.8))
    pose.legs = [front, back] if lead == 0 else [back, front]
    pose.lean = dice.uniform(0.05, 0.3) if fast else dice.uniform(0, 0.12)
    if fast or dice.chance(0.6):
        bend = dice.uniform(1.0, 1.8) if fast else dice.uniform(0.1, 0.6)
        arms = [LimbAngles(-reach * 0.9, 0.12, bend), LimbAngles(reach * 0.9, 0.12, bend)]
        pose.arms = arms if lead == 0 else arms[::-1]
    if dice.chance(0.5):
        pose.yaw = dice.side() * (math.pi / 2 + dice.spread(0.5))


def _down(swing: float, spread: float) -> Vector:
    """Return the direction of a hanging limb, swung forward and spread sideways."""
    flat = math.cos(spread)
    return math.sin(spread), -flat * math.cos(swing), flat * math.sin(swing)


def _step(start: Vector, direction: Vector, length: float) -> Vector:
    return start[0] + direction[0] * length, start[1] + direction[1] * length, start[2] + direction[2] * length


def _normal(vector: Vector) -> Vector:
    length = math.hypot(*vector) or 1.0
    return vector[0] / length, vector[1] / length, vector[2] / length


class _Turn:
    """Turns a vector about the vertical axis, then in the picture plane."""

    def __init__(self, yaw: float, roll: float) -> None:
        self.yaw = math.cos(yaw), math.sin(yaw)
        self.roll = math.cos(roll), math.sin(roll)

    def __call__(self, vector: Vector) -> Vector:
        x, y, z = vector
        x, z = x * self.yaw[0] + z * self.yaw[1], z * self.yaw[0] - x * self.yaw[1]
        return x * self.roll[0] - y * self.roll[1], x * self.roll[1] + y * self.roll[0], z
