"""Known rigs of BVH files: tables that map their joints to the canonical 17.

A rig of the tables is recognised by its joint names only (a prefix such as ``mixamorig:`` is removed before): the first
rig whose required names are all present. Nodes are joint starts; ``Head/end`` is the end site under Head. Other
skeletons are mapped by the rules of ``rig_rules.py``.

The CMU rigs leave out the thorax bone: compared with ASF/AMC of the same trials, everything above it is 114-125 mm too
low, by a constant step in the chest's axes. In nine ASF skeletons of CMU and HDM05 the thorax is 0.1-2 % longer than
the bone below it and parallel within 5 degrees, so that bone's offset is used instead; shoulders then agree within 8
mm.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

CMU_UNIT_M = 0.0254 / 0.45
"""Metres per unit of the CMU database: ASF says ``length 0.45``, in inches."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The mapping from a rig's joints to the canonical ones, and what is known about its files."""

    name: str
    table: Mapping[str, str | Mapping[str, float]]
    """Canonical joint to the rig's joint, or to {joint: weight}."""
    also_required: frozenset[str] = frozenset()
    """Names that distinguish this rig from another one with the same table."""
    unit_m: float | None = None
    """Metres per unit as stated by the user; None if it is to be found from the body."""
    usual_unit_m: float | None = None
    """Metres per unit in most files of this rig; tried first."""
    up: str | None = None
    """The up axis as stated by the user, such as ``+Z``; None if it is to be found from the body."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Joints at the position of their parent because the rig left out the bone between them, each with the joint whose
    offset is used instead."""
    guesses: tuple[str, ...] = ()
    """What was guessed from the structure of the rig instead of its names, and which joints it lacks, in words."""

    @property
    def required(self) -> frozenset[str]:
        """Joint names that a file must have to be of this rig."""
        return frozenset(name for name in self.table.values() if isinstance(name, str)) | self.also_required


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
        usual_unit_m=CMU_UNIT_M,
        left_out={"Neck": "Spine1", "LeftShoulder": "Spine1", "RightShoulder": "Spine1"},
    ),
    Rig(
        name="CMU, 3dsMax names",
        also_required=frozenset({"lowerback", "Chest2", "LeftCollar", "RightCollar"}),
        table={"root": "Hips", "belly": "Chest", "neck": "lowerneck", "nose": "Head", "head": "Head/end", **_HIP},
        usual_unit_m=CMU_UNIT_M,
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


def find_known_rig(names: Collection[str]) -> Rig | None:
    """Return the first rig of the tables that joints of these names belong to."""
    return next((rig for rig in RIGS if rig.required <= set(names)), None)
