"""Checks by feet and knees that left is left: detects exchanged names and left-handed coordinates.

Shapes: T frames, J = 17 joints, S bent knees.
"""

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

MIRRORED = -0.3
"""Cosine below which left and right are exchanged; in 95 real files the median is above 0.8."""
BENT_KNEE_DEG = 40.0
BENT_SHARE = 0.05
"""Smallest share of bent knees, over all frames, that counts as evidence."""
FORWARD_KNEES = 0.5
"""Mean cosine between the bending axis of the knees and the line of the hips above which they bend to the front."""


def is_mirrored(
    up_T3: Float[np.ndarray, "T 3"], forward_T3: Float[np.ndarray, "T 3"], left_T3: Float[np.ndarray, "T 3"]
) -> bool:
    """Tell whether a body's left side is on its right: names exchanged, or coordinates that are left-handed.

    In right-handed coordinates up x forward is left; the median over the frames decides. Frames in which forward is
    within 17 degrees of up or down (feet that point along the body) are ignored.
    """
    expected_T3 = np.cross(up_T3, forward_T3)
    up_T, forward_T, left_T = (np.linalg.norm(each_T3, axis=-1) for each_T3 in (up_T3, forward_T3, left_T3))
    width_T = np.linalg.norm(expected_T3, axis=-1)
    scale_T = width_T * left_T
    known_T = (scale_T > 0) & (width_T > 0.3 * up_T * forward_T)
    if not known_T.any():
        return False
    cosine_T = (expected_T3 * left_T3).sum(axis=-1)[known_T] / scale_T[known_T]
    return float(np.median(cosine_T)) < MIRRORED


def knees_bend_forward(points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"]) -> bool:
    """Tell whether enough knees are bent, and to the front: proof that left is left, even if the feet disagree."""
    cosine_S = knee_cosines(points_TJ3, seen_TJ, BENT_KNEE_DEG)
    return len(cosine_S) > BENT_SHARE * 2 * len(points_TJ3) and float(cosine_S.mean()) > FORWARD_KNEES


def knee_cosines(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], bent_deg: float
) -> Float[np.ndarray, "S"]:
    """Return the cosine between the axis that a knee bends about and the line of the hips, from right to left.

    One value per knee and frame in which it is bent by more than ``bent_deg``: near 1 for people in any posture, and
    near -1 if left and right are exchanged or the coordinates are left-handed.
    """
    hips = [H36M17.index("lhip"), H36M17.index("rhip")]
    left_T3 = _unit(points_TJ3[:, hips[0]] - points_TJ3[:, hips[1]])
    cosines = []
    for side in "lr":
        hip, knee, ankle = (H36M17.index(side + joint) for joint in ("hip", "knee", "ankle"))
        thigh_T3 = _unit(points_TJ3[:, knee] - points_TJ3[:, hip])
        shin_T3 = _unit(points_TJ3[:, ankle] - points_TJ3[:, knee])
        bent_T = (thigh_T3 * shin_T3).sum(axis=-1) < np.cos(np.deg2rad(bent_deg))
        bent_T &= seen_TJ[:, [*hips, knee, ankle]].all(axis=-1)
        axis_T3 = _unit(np.cross(thigh_T3, shin_T3))
        cosines.append((axis_T3 * left_T3).sum(axis=-1)[bent_T])
    return np.concatenate(cosines)


def _unit(vectors_T3: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    return vectors_T3 / np.maximum(np.linalg.norm(vectors_T3, axis=-1, keepdims=True), 1e-9)
