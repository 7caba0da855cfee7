"""Detects poses that a converter inserted before the motion: a T-pose or the rest pose, then a jump to the motion.

They are found by the motion, not by the rig or the file's name: the body leaves the pose at a speed that people do not
reach, and that is several times the speed of the frames after it. A recording that really begins in a T-pose leaves it
smoothly. Of 91 files of CMU's database 89 begin with an inserted pose; the slowest of these jumps has 35 m/s, and every
one is at least 7 times as fast as the motion after it.

Shapes: T frames, J = 17 joints.
"""

from collections.abc import Collection

import numpy as np

from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

AFTER = 6
"""Number of frames after the pose that the jump is compared with."""
JUMP_M_S = 8.0
TIMES_FASTER = 3.0
STRAIGHT_DEG = 25.0
"""Largest deviation of the arms of a T-pose from the side and of its legs from straight down."""


def is_t_pose(points_J3: Float[np.ndarray, "17 3"], joints: Collection[str]) -> bool:
    """Tell whether the arms point straight to the sides and the legs straight down, along the trunk's own axes.

    ``joints`` are the known ones; False if one of trunk, arms or legs is missing.
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
    """Tell whether the step from the first frame is faster than people move, and than the steps after it.

    ``points_TJ3`` are metres: the pose, and up to ``AFTER`` frames after it.
    """
    speed_T = np.linalg.norm(np.diff(points_TJ3, axis=0), axis=-1).max(axis=-1) * fps
    return len(speed_T) > 1 and bool(speed_T[0] > max(JUMP_M_S, TIMES_FASTER * float(np.median(speed_T[1:]))))


def _angle_deg(a_3: Float[np.ndarray, "3"], b_3: Float[np.ndarray, "3"]) -> float:
    length = float(np.linalg.norm(a_3) * np.linalg.norm(b_3))
    return float(np.rad2deg(np.arccos(np.clip(a_3 @ b_3 / length, -1, 1)))) if length else 180.0
