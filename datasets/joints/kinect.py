"""Kinect's joints as the canonical seventeen: the tables that all Kinect data sets share, and what counts as seen.

Both sensors give metres in the camera's space: x to the camera's left, y up, z away from it, which is right-handed.
Joint names say the person's own left and right. The v1 has 20 joints; data sets publish them in orders of their own,
so that the table goes by name. The v2 has 25. Kinect's head is the middle of the head, not its top. The v1 has no
joint between shoulders and head: the canonical one there is the middle of the two.

Shapes: T frames, K joints as published, J = 17 joints.
"""

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17, Conversion

_ARMS = ("shoulder", "elbow", "wrist", "hand")
_LEGS = ("hip", "knee", "ankle", "foot")
_LIMBS = tuple(side + part for parts in (_ARMS, _LEGS) for side in "lr" for part in parts)
V1_JOINTS = ("hipcenter", "spine", "shouldercenter", "head", *_LIMBS)
"""Microsoft's own order of the Kinect v1."""
V2_JOINTS = (
    "spinebase", "spinemid", "neck", "head", *_LIMBS,
    "spineshoulder", "lhandtip", "lthumb", "rhandtip", "rthumb",
)  # fmt: skip
_SAME = {side + part: side + part for side in "lr" for part in (*_ARMS[:3], *_LEGS[:3])}
_V1_TABLE = {
    "root": "hipcenter",
    "belly": "spine",
    "neck": "shouldercenter",
    "nose": {"shouldercenter": 0.5, "head": 0.5},
    "head": "head",
    **_SAME,
}


def v1_conversion(joints: tuple[str, ...] = V1_JOINTS) -> Conversion:
    """Return the conversion of the v1's joints, published in the order ``joints``."""
    return Conversion(source_joints=joints, target=H36M17, table=_V1_TABLE)


FARTHEST = 1e6
"""Pixels or metres; what lies beyond is damage."""
V1_TO_H36M17 = v1_conversion()
V2_TO_H36M17 = Conversion(
    source_joints=V2_JOINTS,
    target=H36M17,
    table={
        "root": "spinebase",
        "belly": "spinemid",
        "neck": "spineshoulder",
        "nose": "neck",
        "head": "head",
        **_SAME,
    },
)


def seen(positions_TKC: Float[np.ndarray, "T K C"]) -> Bool[np.ndarray, "T K"]:
    """Return which joints are anywhere: lost ones get coordinates of exactly 0, or none that could be meant."""
    return (np.abs(positions_TKC) < FARTHEST).all(axis=-1) & (positions_TKC != 0).any(axis=-1)


def canonical(
    conversion: Conversion, positions_TKC: Float[np.ndarray, "T K C"], confidence_TK: Float[np.ndarray, "T K"]
) -> tuple[Float[np.ndarray, "T 17 C"], Float[np.ndarray, "T 17"]]:
    """Convert positions with their confidences: joints that are nowhere, or of no confidence, are absent and at 0."""
    confidence_TK = np.where(seen(positions_TKC), np.nan_to_num(confidence_TK, nan=0.0), 0.0).clip(0, 1)
    finite_TKC = np.where(confidence_TK[..., None] > 0, positions_TKC, 0.0)
    confidence_TJ = conversion.confidence(confidence_TK).astype(np.float32)
    positions_TJC = conversion.positions(finite_TKC) * (confidence_TJ > 0)[..., None]
    return positions_TJC.astype(np.float32), confidence_TJ
