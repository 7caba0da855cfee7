"""The body of the procedural source: segments, joint angles, and the legs' inverse kinematics.

A person is rigid segments in human proportions (Drillis and Contini's shares of stature, as printed in Winter,
"Biomechanics and Motor Control of Human Movement", figure 4.1; trunk, neck and hips as wide as Human3.6M's subjects).
The trunk, head and arms are posed by joint angles, the legs by the positions of the ankles: two-bone inverse kinematics
keeps planted feet in place and lets knees bend in one direction only. Bone lengths are constant by construction.

Axes: metres, right-handed, Y up; a person with heading 0 faces +Z and has its left at +X. Shapes: T frames.
"""

from dataclasses import dataclass

import numpy as np

from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

MAX_KNEE_FLEXION_DEG = 145.0
ELBOW_FLEXION_DEG = (4.0, 145.0)
SHRUG_DEG = 30.0
"""Rotation of the shoulder girdle, in degrees, for an arm raised to the vertical."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Segment lengths in metres; widths are from the middle to one side."""

    stature: float
    thigh: float
    shank: float
    ankle: float
    """Height of the ankle above the sole."""
    foot: float
    """Distance from below the ankle forward to the ball of the foot, about which the heel lifts."""
    hip: float
    lower_spine: float
    upper_spine: float
    neck: float
    skull: float
    shoulder: float
    upper_arm: float
    forearm: float

    @property
    def leg(self) -> float:
        """Distance from hip to ankle with a straight knee."""
        return self.thigh + self.shank

    @property
    def standing(self) -> float:
        """Height of the root in relaxed standing, with slightly bent knees."""
        return self.ankle + 0.992 * self.leg


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person: a body and its movement habits."""

    body: Body
    tempo: float
    """Relative pace of actions; 1 is normal."""
    vigour: float
    """Relative extent of actions; 1 is normal."""
    left_handed: bool


def sample_person(rng: np.random.Generator) -> Person:
    """Draw an adult: build, pace and handedness."""
    return Person(
        body=sample_body(rng),
        tempo=rng.uniform(0.88, 1.14),
        vigour=rng.uniform(0.9, 1.06),
        left_handed=bool(rng.random() < 0.15),
    )


def sample_body(rng: np.random.Generator) -> Body:
    """Draw an adult: stature 1.5 to 1.95 m, limbs, trunk and widths in individual proportions."""
    stature = rng.uniform(1.5, 1.95)
    limb, trunk, broad = rng.normal(1, 0.03, 3).clip(0.92, 1.08)
    arm = limb * rng.normal(1, 0.02)
    return Body(
        stature=stature,
        thigh=0.245 * stature * limb,
        shank=0.246 * stature * limb,
        ankle=0.039 * stature,
        foot=0.085 * stature,
        hip=0.068 * stature * broad,
        lower_spine=0.138 * stature * trunk,
        upper_spine=0.150 * stature * trunk,
        neck=0.069 * stature,
        skull=0.065 * stature,
        shoulder=0.092 * stature * broad,
        upper_arm=0.172 * stature * arm,
        forearm=0.150 * stature * arm,
    )


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The pose of a body over T frames. Angles in degrees, positions in metres."""

    root_T3: Float[np.ndarray, "T 3"]
    heading_T: Float[np.ndarray, "T"]
    """Heading of the person, to the left of +Z."""
    pelvis_T3: Float[np.ndarray, "T 3"]
    """(lean forward, turn left, tilt right), relative to the heading, as are chest and head."""
    chest_T3: Float[np.ndarray, "T 3"]
    head_T3: Float[np.ndarray, "T 3"]
    left_arm_T4: Float[np.ndarray, "T 4"]
    """(swing forward, spread to the side, turn outward about its own axis, elbow flexion), relative to the chest."""
    right_arm_T4: Float[np.ndarray, "T 4"]
    left_ankle_T3: Float[np.ndarray, "T 3"]
    right_ankle_T3: Float[np.ndarray, "T 3"]
    toe_out: int | float
    """Angle by which feet and knees point outward."""


def joint_positions(body: Body, pose: Pose) -> Float[np.ndarray, "T 17 3"]:
    """Return the joints of ``h36m17`` by forward kinematics of trunk and arms and inverse kinematics of the legs."""
    heading_T33 = _rotation(np.deg2rad(pose.heading_T), "y")
    pelvis_T33 = heading_T33 @ turns(pose.pelvis_T3)
    spine_T33 = heading_T33 @ turns((pose.pelvis_T3 + pose.chest_T3) / 2)
    chest_T33 = heading_T33 @ turns(pose.chest_T3)
    head_T33 = heading_T33 @ turns(pose.head_T3)

    belly_T3 = pose.root_T3 + spine_T33 @ _up(body.lower_spine)
    neck_T3 = belly_T3 + chest_T33 @ _up(body.upper_spine)
    nose_T3 = neck_T3 + head_T33 @ (body.neck * _unit(0, 0.86, 0.5))
    places = {
        "root": pose.root_T3,
        "belly": belly_T3,
        "neck": neck_T3,
        "nose": nose_T3,
        "head": nose_T3 + head_T33 @ (body.skull * _unit(0, 0.95, -0.3)),
    }
    for side, left, arm_T4, ankle_T3 in (
        ("l", 1, pose.left_arm_T4, pose.left_ankle_T3),
        ("r", -1, pose.right_arm_T4, pose.right_ankle_T3),
    ):
        arm = _arm(body, left, neck_T3, chest_T33, arm_T4)
        leg = _leg(body, left, pose, pelvis_T33, ankle_T3)
        places |= {f"{side}{joint}": place_T3 for joint, place_T3 in (arm | leg).items()}
    return np.stack([places[joint] for joint in H36M17.joints], axis=1)


def _arm(
    body: Body, left: int, neck_T3: np.ndarray, chest_T33: np.ndarray, arm_T4: np.ndarray
) -> dict[str, np.ndarray]:
    swing_T, spread_T, outward_T, elbow_T = np.deg2rad(arm_T4).T
    raise_T33 = _rotation(left * spread_T, "z") @ _rotation(-swing_T, "x")
    upper_T33 = chest_T33 @ raise_T33 @ _rotation(left * outward_T, "y")
    bend_T33 = _rotation(-elbow_T.clip(*np.deg2rad(ELBOW_FLEXION_DEG)), "x")

    elevation_T = (1 - raise_T33[:, 1, 1]) / 2  # 0 hanging, 1 straight up
    girdle_T33 = chest_T33 @ _rotation(left * np.deg2rad(SHRUG_DEG) * elevation_T**2, "z")
    shoulder_T3 = neck_T3 + girdle_T33 @ (body.shoulder * _unit(left, -0.12, 0))
    elbow_T3 = shoulder_T3 + upper_T33 @ _up(-body.upper_arm)
    wrist_T3 = elbow_T3 + upper_T33 @ bend_T33 @ _up(-body.forearm)
    return {"shoulder": shoulder_T3, "elbow": elbow_T3, "wrist": wrist_T3}


def _leg(body: Body, left: int, pose: Pose, pelvis_T33: np.ndarray, ankle_T3: np.ndarray) -> dict[str, np.ndarray]:
    """Two-bone inverse kinematics; the knee is a hinge about the axis across the foot."""
    hip_T3 = pose.root_T3 + pelvis_T33 @ (body.hip * _unit(left, 0, 0))
    toe_T33 = _rotation(np.deg2rad(pose.heading_T + left * pose.toe_out), "y")
    offset_T3 = ankle_T3 - hip_T3
    distance_T = np.linalg.norm(offset_T3, axis=-1)
    direction_T3 = offset_T3 / distance_T[:, None]
    reach_T = distance_T.clip(_shortest(body), 0.9995 * body.leg)

    along_T = (body.thigh**2 - body.shank**2 + reach_T**2) / (2 * reach_T)
    across_T = np.sqrt(body.thigh**2 - along_T**2)
    forward_T3 = np.cross(direction_T3, toe_T33[:, :, 0])
    forward_T3 /= np.linalg.norm(forward_T3, axis=-1, keepdims=True)
    knee_T3 = hip_T3 + along_T[:, None] * direction_T3 + across_T[:, None] * forward_T3
    return {"hip": hip_T3, "knee": knee_T3, "ankle": hip_T3 + reach_T[:, None] * direction_T3}


def _shortest(body: Body) -> float:
    """Distance from hip to ankle with the knee bent as far as possible."""
    cosine = np.cos(np.deg2rad(MAX_KNEE_FLEXION_DEG))
    return float(np.sqrt(body.thigh**2 + body.shank**2 + 2 * body.thigh * body.shank * cosine))


def turns(angles_T3: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3 3"]:
    """Return rotations from (lean forward, turn left, tilt right) in degrees: tilt first, turn last."""
    lean_T, turn_T, tilt_T = np.deg2rad(angles_T3).T
    return _rotation(turn_T, "y") @ _rotation(lean_T, "x") @ _rotation(tilt_T, "z")


def _rotation(angle_T: np.ndarray, axis: str) -> np.ndarray:
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation_T33 = np.zeros((len(angle_T), 3, 3)) + np.eye(3)
    rotation_T33[:, i, i] = rotation_T33[:, j, j] = np.cos(angle_T)
    rotation_T33[:, j, i] = np.sin(angle_T)
    rotation_T33[:, i, j] = -rotation_T33[:, j, i]
    return rotation_T33


def _up(length: float) -> np.ndarray:
    return np.array([0.0, length, 0.0])


def _unit(x: int | float, y: int | float, z: int | float) -> np.ndarray:
    vector = np.array([x, y, z], dtype=float)
    return vector / np.linalg.norm(vector)
