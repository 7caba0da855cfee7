"""Joint sets that several formats share, and how each becomes the 17 joints of ``h36m17``.

Readers share tables through this module and do not import each other; a joint set of a single format is defined in its
reader. Each table gives a joint of ``h36m17`` as one published joint or as a weighted mean of some.

Shapes: T frames, K joints as published, J = 17 joints, C coordinates.
"""

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import COCO17_JOINTS, COCO17_TO_H36M17, H36M17, PAIRED_JOINTS, Conversion

FARTHEST = 1e6
"""Metres or pixels. Coordinates beyond it are damaged: no room and no image is that large."""
HIDDEN_CONFIDENCE = 0.5
"""Confidence of a joint that an annotator placed although it is hidden in the image."""


def is_seen(positions_TKC: Float[np.ndarray, "T K C"]) -> Bool[np.ndarray, "T K"]:
    """Tell which joints have a position: many formats write exactly 0, or not a number, for a lost joint."""
    return (np.abs(positions_TKC) < FARTHEST).all(axis=-1) & (positions_TKC != 0).any(axis=-1)


def to_canonical(
    conversion: Conversion, positions_TKC: Float[np.ndarray, "T K C"], confidence_TK: Float[np.ndarray, "T K"]
) -> tuple[Float[np.ndarray, "T 17 C"], Float[np.ndarray, "T 17"]]:
    """Convert positions and confidences as a file holds them; joints without a position get confidence 0."""
    confidence_TK = np.where(is_seen(positions_TKC), np.nan_to_num(confidence_TK, nan=0.0), 0.0).clip(0, 1)
    positions_TJC, confidence_TJ = conversion.convert(positions_TKC, confidence_TK.astype(np.float32))
    return positions_TJC.astype(np.float32), confidence_TJ


def _mean(*joints: str) -> dict[str, float]:
    return dict.fromkeys(joints, 1 / len(joints))


_PAIRED = {joint: joint for joint in PAIRED_JOINTS}

HALPE26_JOINTS = (
    *COCO17_JOINTS, "head", "neck", "hip", "lbigtoe", "rbigtoe", "lsmalltoe", "rsmalltoe", "lheel", "rheel",
)  # fmt: skip

# As in the published code: halpe2h36m (lib/data/dataset_wild.py).
HALPE26_TO_H36M17 = Conversion(
    source_joints=HALPE26_JOINTS,
    target=H36M17,
    table={**_PAIRED, "root": "hip", "neck": "neck", "belly": _mean("neck", "hip"), "nose": "nose", "head": "head"},
)

OPENPOSE18_JOINTS = (
    "nose", "second", "rshoulder", "relbow", "rwrist", "lshoulder", "lelbow", "lwrist",
    "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "reye", "leye", "rear", "lear",
)  # fmt: skip
"""OpenPose's COCO model. ``second`` is the neck, but some tools that write this layout put another joint there."""
OPENPOSE18_TO_H36M17 = Conversion(source_joints=OPENPOSE18_JOINTS, target=H36M17, table=COCO17_TO_H36M17.table)
BODY25_JOINTS = (
    "nose", "neck", "rshoulder", "relbow", "rwrist", "lshoulder", "lelbow", "lwrist", "hip", "rhip", "rknee", "rankle",
    "lhip", "lknee", "lankle", "reye", "leye", "rear", "lear",
    "lbigtoe", "lsmalltoe", "lheel", "rbigtoe", "rsmalltoe", "rheel",
)  # fmt: skip
"""OpenPose's BODY_25 model."""
BODY25_TO_H36M17 = Conversion(
    source_joints=BODY25_JOINTS,
    target=H36M17,
    table={
        **_PAIRED,
        "root": "hip",
        "neck": "neck",
        "belly": _mean("hip", "neck"),
        "nose": "nose",
        "head": _mean("leye", "reye"),
    },
)

MPII16_JOINTS = (
    "rankle", "rknee", "rhip", "lhip", "lknee", "lankle", "pelvis", "thorax", "neck", "head", "rwrist", "relbow",
    "rshoulder", "lshoulder", "lelbow", "lwrist",
)  # fmt: skip
MPII16_TO_H36M17 = Conversion(
    source_joints=MPII16_JOINTS,
    target=H36M17,
    table={
        **_PAIRED,
        "root": _mean("lhip", "rhip"),
        "belly": {"lhip": 0.25, "rhip": 0.25, "neck": 0.5},
        "neck": "neck",
        "head": "head",
    },
)
"""MPII's joints, which do not include a nose."""

SMPL22_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The first 22 joints of SMPL, SMPL+H and SMPL-X; hands and face come after."""
_SMPL = {
    "root": _mean("left_hip", "right_hip"),
    "belly": "spine2",
    "neck": "neck",
    "nose": "head",
    **{joint: {"l": "left_", "r": "right_"}[joint[0]] + joint[1:] for joint in PAIRED_JOINTS},
}
SMPL24_TO_H36M17 = Conversion(source_joints=(*SMPL22_JOINTS, "left_hand", "right_hand"), target=H36M17, table=_SMPL)
"""All joints of SMPL; none of them is the top of the head."""
SMPL22_AND_TOP_TO_H36M17 = Conversion(
    source_joints=(*SMPL22_JOINTS, "head_top"), target=H36M17, table={**_SMPL, "head": "head_top"}
)
"""All joints of SMPL, with a point of the mesh as the top of the head."""
