"""Poses that a converter put before the motion: a T-pose or the rest pose, with a jump to the first captured frame.

Found by the motion, not by the rig or the file's name: the body stands in such a pose, and leaves it at a speed that
people do not reach and that the frames after it do not come near. A recording that really begins in a T-pose leaves
it smoothly. In the 89 files of 91 of CMU's data base that begin with one, the slowest jump is 35 m/s, and the least
is 7 times the speed after it.

Shapes: T frames, J = 17 joints.
"""

from collections.abc import Collection

import numpy as np

from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

AFTER = 6
"""Frames after the pose that are compared with the jump."""
JUMP_M_S = 8.0
TIMES_FASTER = 3.0
STRAIGHT_DEG = 25.0
"""How far arms and legs of a T-pose may be from straight, from level and from upright."""


def is_t_pose(points_J3: Float[np.ndarray, "17 3"], joints: Collection[str]) -> bool:
    """Tell whether the arms point straight to the sides and the legs straight down, along the trunk's own axes.

    ``joints`` are those that are known; without one of trunk, arms and legs it cannot be told.
    """
    if not set(H36M17.joints) - {"belly", "nose", "head"} <= set(joints):
        return False
    at = dict(zip(H36M17.joints, points_J3, strict=True))
    down, left = at["root"] - at["neck"], at["lshoulder"] - at["rshoulder"]
    limbs = [(f"{side}shoulder", f"{side}elbow", f"{side}wrist", sign * left) for side, sign in (("l", 1), ("r", -1))]
    limbs += [(f"{side}hip", f"{side}knee", f"{side}ankle", down) for side in "lr"]
    return all(
        _angle_deg(bone, direction) < STRAIGHT_DEG
        for start, middle, end, direction in limbs
        for bone in (at[middle] - at[start], at[end] - at[middle])
    )


def jumps_away(points_TJ3: Float[np.ndarray, "T 17 3"], fps: float) -> bool:
    """Tell whether the first frame is left at a speed that neither people nor the frames after it reach.

    ``points_TJ3`` are metres: the pose, and up to ``AFTER`` frames after it.
    """
    speed_T = np.linalg.norm(np.diff(points_TJ3, axis=0), axis=-1).max(axis=-1) * fps
    return len(speed_T) > 1 and bool(speed_T[0] > max(JUMP_M_S, TIMES_FASTER * float(np.median(speed_T[1:]))))


def _angle_deg(a_3: Float[np.ndarray, "3"], b_3: Float[np.ndarray, "3"]) -> float:
    length = float(np.linalg.norm(a_3) * np.linalg.norm(b_3))
    return float(np.rad2deg(np.arccos(np.clip(a_3 @ b_3 / length, -1, 1)))) if length else 180.0
