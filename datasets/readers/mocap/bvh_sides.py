"""Checks by the feet of a BVH file that left is left; the knees overrule the feet.

Shapes: T frames, N nodes (joints and end sites), J = 17 joints.
"""

import numpy as np

from datasets.joints.rigs import Rig
from datasets.joints.sides import is_mirrored, knees_bend_forward
from datasets.readers.mocap.bvh_file import Hierarchy
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

LEAST_FOOT = 0.5
"""Sine of the angle between shin and foot at rest, below which the foot only continues the shin (30 degrees)."""


def check_sides(
    points_TJ3: Float[np.ndarray, "T 17 3"], forward_T3: Float[np.ndarray, "T 3"], rig: Rig, path: str
) -> None:
    """Reject a body whose left side is on its right, seen along its feet, unless its knees bend to the front.

    Args:
        points_TJ3: The body, in any unit and axes.
        forward_T3: The direction of its feet; 0 if it is unknown.
        rig: Which joints it has.
        path: For messages.

    Raises:
        RecordingError: Left and right are exchanged.
    """
    if not {"neck", "lhip", "rhip"} <= set(rig.table):
        return
    root, neck, left, right = (H36M17.index(joint) for joint in ("root", "neck", "lhip", "rhip"))
    up_T3, left_T3 = points_TJ3[:, neck] - points_TJ3[:, root], points_TJ3[:, left] - points_TJ3[:, right]
    seen_TJ = np.broadcast_to(np.isin(H36M17.joints, list(rig.table)), points_TJ3.shape[:2])
    if is_mirrored(up_T3, forward_T3, left_T3) and not knees_bend_forward(points_TJ3, seen_TJ):
        raise RecordingError(
            path,
            where="left and right",
            expected="the left hip left of the right one, seen along the feet",
            found="it on the other side: names exchanged, or left-handed coordinates",
            fix="Export it right-handed, or exchange the names in a joint_map.json beside it.",
        )


def foot_directions(
    positions_TN3: Float[np.ndarray, "T N 3"], rest_N3: Float[np.ndarray, "N 3"], hierarchy: Hierarchy, rig: Rig
) -> Float[np.ndarray, "T 3"]:
    """Return the summed direction of both feet; 0 if it is unknown."""
    forward_T3 = np.zeros((len(positions_TN3), 3))
    for side in "lr":
        knee, ankle = (rig.table.get(side + joint) for joint in ("knee", "ankle"))
        if isinstance(knee, str) and isinstance(ankle, str):
            start, end = hierarchy.names.index(knee), hierarchy.names.index(ankle)
            tip = _toe_tip(start, end, rest_N3, hierarchy)
            forward_T3 += positions_TN3[:, tip] - positions_TN3[:, end]
    return forward_T3


def _toe_tip(knee: int, ankle: int, rest_N3: Float[np.ndarray, "N 3"], hierarchy: Hierarchy) -> int:
    """The node of the foot that is farthest from the ankle: toes, not the heel.

    It is the ankle itself if that node continues the shin: it shows the direction of the shin, not where the front is.
    """
    foot = {ankle}
    for node in range(ankle + 1, len(hierarchy.parents)):
        if hierarchy.parents[node] in foot:
            foot.add(node)
    tip = max(sorted(foot), key=lambda node: float(np.linalg.norm(rest_N3[node] - rest_N3[ankle])))
    shin_3, foot_3 = rest_N3[ankle] - rest_N3[knee], rest_N3[tip] - rest_N3[ankle]
    across = np.linalg.norm(np.cross(shin_3, foot_3))
    return tip if across > LEAST_FOOT * np.linalg.norm(shin_3) * np.linalg.norm(foot_3) else ankle
