"""Rigs that BVH files come on: which joints become which of the canonical seventeen, in which unit, with which axis up.

A rig is recognised by its joint names alone (a prefix such as ``mixamorig:`` is cut off before): the first whose
required names are all present. Nodes are joint starts; ``Head/end`` is the end site under Head. A skeleton that no
table here knows goes by the rules of ``rig_rules.py``. What neither file nor rig states is found from the body itself:
the unit by human proportions, the up axis by where the spine points; and whether left is left, by the feet.

The CMU rigs leave out the thorax bone: against ASF/AMC of the same trials everything above it sits 114-125 mm too low,
by a constant step in the chest's axes. In nine ASF skeletons of CMU and HDM05 the thorax is 0.1-2 % longer than the
bone below it and parallel within 5 degrees, so that bone's offset stands in; shoulders then agree within 8 mm.

Shapes: T frames, J = 17 joints.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from datasets.joints.kinematics import rotation_to_y_up
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

CMU_UNIT_M = 0.0254 / 0.45
"""Metres per unit of the CMU database: ASF says ``length 0.45``, in inches."""
UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
PLAUSIBLE_STATURE_M = (1.2, 2.2)
ASSUMED_STATURE_M = 1.7
CHAIN_PER_STATURE = 0.96
"""Leg plus spine over stature: hip height .530 less ankle height .039, plus the .470 above the hip (Drillis and
Contini, "Body segment parameters", 1966)."""
LEG_PER_STATURE = 0.491
"""Hip to ankle over stature, from the same source: for rigs that lack a joint of the spine."""
LEG = ("rhip", "rknee", "rankle")
SPINE = ("root", "belly", "neck", "nose", "head")
MIRRORED = -0.3
"""Below this cosine, left lies where a right-handed body has its right; in 95 real files the median is above 0.8."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A table from canonical joint to the rig's joint; ``unit_m`` is None where files of the rig differ."""

    name: str
    table: Mapping[str, str]
    also_required: frozenset[str] = frozenset()
    """Names that tell this rig from another one with the same table."""
    unit_m: float | None = None
    up: str | None = None
    """The axis that points up, such as ``+Z``; None: found from the body."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Joints that sit on their parent because the rig left out the bone between: the joint whose offset stands in."""
    begins_in_t_pose: bool = False
    """The converter put a T-pose before the motion; some copies had it removed again."""

    @property
    def required(self) -> frozenset[str]:
        """Joint names that a file must have to be of this rig."""
        return frozenset(self.table.values()) | self.also_required


def _sides(**parts: str) -> dict[str, str]:
    names = {"l": "Left", "r": "Right"}
    return {side + joint: name + part for side, name in names.items() for joint, part in parts.items()}


_UP_LEG = _sides(hip="UpLeg", knee="Leg", ankle="Foot", shoulder="Arm", elbow="ForeArm", wrist="Hand")
_HIP = _sides(hip="Hip", knee="Knee", ankle="Ankle", shoulder="Shoulder", elbow="Elbow", wrist="Wrist")

RIGS = (
    Rig(
        name="CMU, MotionBuilder names",
        also_required=frozenset({"LHipJoint", "LowerBack", "Spine1", "Neck1", "LeftShoulder", "RightShoulder"}),
        table={"root": "Hips", "belly": "Spine", "neck": "Neck", "nose": "Head", "head": "Head/end", **_UP_LEG},
        unit_m=CMU_UNIT_M,
        begins_in_t_pose=True,
        left_out={"Neck": "Spine1", "LeftShoulder": "Spine1", "RightShoulder": "Spine1"},
    ),
    Rig(
        name="CMU, 3dsMax names",
        also_required=frozenset({"lowerback", "Chest2", "LeftCollar", "RightCollar"}),
        table={"root": "Hips", "belly": "Chest", "neck": "lowerneck", "nose": "Head", "head": "Head/end", **_HIP},
        unit_m=CMU_UNIT_M,
        begins_in_t_pose=True,
        left_out={"lowerneck": "Chest2", "LeftCollar": "Chest2", "RightCollar": "Chest2"},
    ),
    Rig(
        name="AnimatedDrawings",
        also_required=frozenset({"Spine3", "RightHandEnd"}),
        table={"root": "Hips", "belly": "Spine2", "neck": "Neck", "nose": "Head", "head": "Head/end", **_UP_LEG},
    ),
    Rig(
        name="Mixamo",
        table={"root": "Hips", "belly": "Spine1", "neck": "Neck", "nose": "Head", "head": "HeadTop_End", **_UP_LEG},
    ),
    Rig(
        name="LAFAN1",
        table={"root": "Hips", "belly": "Spine1", "neck": "Neck", "nose": "Head", "head": "Head/end", **_UP_LEG},
    ),
)


def known_rig(names: Collection[str]) -> Rig | None:
    """Return the first rig of the tables that joints of these names belong to."""
    return next((rig for rig in RIGS if rig.required <= set(names)), None)


def unit_of(rest_J3: Float[np.ndarray, "17 3"], rig: Rig, path: str) -> tuple[float, tuple[str, ...]]:
    """Return metres per unit of the file, and in words what had to be assumed.

    Raises:
        RecordingError: The rig has neither a whole spine nor a leg to measure.
    """
    return (rig.unit_m, ()) if rig.unit_m is not None else unit_by_proportions(rest_J3, rig.table, path)


def unit_by_proportions(
    rest_J3: Float[np.ndarray, "17 3"], joints: Collection[str], path: str
) -> tuple[float, tuple[str, ...]]:
    """Return metres per unit of a body that has these of the 17 joints, and in words what had to be assumed.

    Raises:
        RecordingError: The body has neither a whole spine nor a leg to measure.
    """
    stature = _stature(rest_J3, joints)
    if stature is None:
        raise RecordingError(
            path,
            where="unit",
            expected="hip, knee and ankle, whose length tells the unit",
            found=", ".join(sorted(joints)),
            fix="State unit_m in a joint_map.json beside the recordings (datasets/joints/joint_map.py).",
        )
    if not stature > 0:  # offsets of nothing but zeros: left to the checks
        return 1.0, ()
    low, high = PLAUSIBLE_STATURE_M
    for name, unit_m in UNITS_M.items():
        if low <= stature * unit_m <= high:
            return unit_m, (f"unit not stated: {name} by human proportions",)
    unit_m = ASSUMED_STATURE_M / stature
    return unit_m, (f"unit unknown: scaled by {unit_m:.5f} to a stature of {ASSUMED_STATURE_M} m",)


def up_axis(
    positions_TJ3: Float[np.ndarray, "T 17 3"], rest_J3: Float[np.ndarray, "17 3"], rig: Rig
) -> tuple[Float[np.ndarray, "3 3"], tuple[str, ...]]:
    """Return the rotation to Y up, and in words what was turned.

    An axis is taken for up when the spine points along it at rest and in motion alike. Where the two disagree
    (somebody lies down all the time, a rest pose lies in other axes) Y is kept.
    """
    up_3 = _up_of_spine(positions_TJ3, rest_J3, rig) if rig.up is None else _axis(rig.up)
    if up_3[1] == 1:
        return np.eye(3), ()
    axis = ("+" if up_3.sum() > 0 else "-") + "XYZ"[int(np.abs(up_3).argmax())]
    return rotation_to_y_up(up_3), (f"turned from {axis} up to Y up",)


def is_mirrored(
    up_T3: Float[np.ndarray, "T 3"], forward_T3: Float[np.ndarray, "T 3"], left_T3: Float[np.ndarray, "T 3"]
) -> bool:
    """Tell whether a body's left lies to its right: names exchanged, or coordinates that are left-handed.

    In right-handed coordinates up x forward is left; the median over the frames decides. Frames in which forward is
    within 17 degrees of up or down (feet that point along the body) say nothing.
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


def _up_of_spine(
    positions_TJ3: Float[np.ndarray, "T 17 3"], rest_J3: Float[np.ndarray, "17 3"], rig: Rig
) -> Float[np.ndarray, "3"]:
    if "neck" not in rig.table:
        return _axis("+Y")
    spine = [H36M17.index("root"), H36M17.index("neck")]
    moving_T3 = np.diff(positions_TJ3[:, spine], axis=1)[:, 0]
    up_3 = _signed_axis(moving_T3.mean(axis=0))
    agree = np.array_equal(up_3, _signed_axis(np.diff(rest_J3[spine], axis=0)[0]))
    return up_3 if agree else _axis("+Y")


def _axis(name: str) -> Float[np.ndarray, "3"]:
    return np.where(np.array(list("XYZ")) == name[1], float(f"{name[0]}1"), 0.0)


def _stature(rest_J3: Float[np.ndarray, "17 3"], joints: Collection[str]) -> float | None:
    """By leg and spine where the rig has both whole, else by the leg alone; None without a leg."""
    if {*LEG, *SPINE} <= set(joints):
        return _length(rest_J3, LEG, SPINE) / CHAIN_PER_STATURE
    return _length(rest_J3, LEG) / LEG_PER_STATURE if set(LEG) <= set(joints) else None


def _length(rest_J3: Float[np.ndarray, "17 3"], *chains: tuple[str, ...]) -> float:
    points = [rest_J3[[H36M17.index(joint) for joint in chain]] for chain in chains]
    return float(sum(np.linalg.norm(np.diff(chain_N3, axis=0), axis=-1).sum() for chain_N3 in points))


def _signed_axis(direction_3: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    axis_3 = np.zeros(3)
    k = int(np.abs(direction_3).argmax())
    axis_3[k] = np.sign(direction_3[k])
    return axis_3
