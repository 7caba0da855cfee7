"""Convert Kinect's joints to the canonical 17: the tables that all Kinect data sets share.

Both sensors give metres in the camera's space: x to the camera's left, y up, z away from it, which is right-handed.
Joint names say the person's own left and right. The v1 has 20 joints; data sets publish them in different orders, so
the table uses names. The v2 has 25. Kinect's head is the middle of the head, not its top. The v1 has no joint between
shoulders and head, so the canonical one is their midpoint.
"""

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
