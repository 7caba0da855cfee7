"""Marker sets of optical motion capture: positions of markers on the body, and joints computed from them.

Markers are on the skin, joints inside the body. A joint here is a weighted mean of the markers around it (a table),
except for the hips, which are 80 mm below the markers of the pelvis, in the pelvis's own axes, so that this also holds
for people who lie down. Knees, ankles, elbows and shoulders are the marker itself, about 50 mm outside the joint. A
joint needs all of its markers; if one is missing, the joint is absent and never guessed.

Sources: Vicon, "Plug-in Gait Reference Guide" (full body, 39 markers); CMU's "Marker Placement Guide" (41 markers, the
same positions, but with other names at the waist and more markers on hands and feet).

Shapes: T frames, M markers, J = 17 joints.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17, Conversion

HIP_BELOW_PELVIS_M = 0.08
"""Distance of the hip joints below the plane of the four pelvis markers."""


def _sided(*markers: str) -> tuple[str, ...]:
    return tuple(side + marker for side in "LR" for marker in markers)


_ARM = ("SHO", "UPA", "ELB", "FRM", "WRA", "WRB", "FIN")
_LEG = ("THI", "KNE", "TIB", "ANK", "HEE", "TOE")  # codespell:ignore thi
_HEAD = ("LFHD", "RFHD", "LBHD", "RBHD")

PLUG_IN_GAIT = (
    *_HEAD,
    "C7",
    "T10",
    "CLAV",
    "STRN",
    "RBAK",
    *_sided(*_ARM),
    "LASI",
    "RASI",
    "LPSI",
    "RPSI",
    *_sided(*_LEG),
)
"""The 39 markers of Vicon's full-body set, in the order in which UI-PRMD writes them."""


@dataclass(frozen=True, kw_only=True)
class MarkerSet:
    """A marker set, described by the names that differ from those of Plug-in Gait."""

    name: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Marker names of Plug-in Gait, each with this set's name for it."""

    def name_of(self, marker: str) -> str:
        """Return this set's name of a marker of Plug-in Gait."""
        return self.renamed.get(marker, marker)


MARKER_SETS = (
    MarkerSet(name="Plug-in Gait"),
    MarkerSet(name="Plug-in Gait with one sacral marker", renamed={"LPSI": "SACR", "RPSI": "SACR"}),
    MarkerSet(name="CMU", renamed={"LASI": "LFWT", "RASI": "RFWT", "LPSI": "LBWT", "RPSI": "RBWT"}),
)


def _mean(*markers: str) -> dict[str, float]:
    return dict.fromkeys(markers, 1 / len(markers))


TABLE: Mapping[str, Mapping[str, float]] = {
    "root": {"LASI": 0.3, "RASI": 0.3, "LPSI": 0.2, "RPSI": 0.2},
    "lhip": {"LASI": 0.6, "LPSI": 0.4},
    "rhip": {"RASI": 0.6, "RPSI": 0.4},
    "belly": _mean("T10", "STRN"),
    "neck": _mean("C7", "CLAV"),
    "nose": {"C7": 0.25, "CLAV": 0.25, **dict.fromkeys(_HEAD, 0.125)},
    "head": _mean(*_HEAD),
    **{f"{side.lower()}wrist": _mean(f"{side}WRA", f"{side}WRB") for side in "LR"},
    **{
        side.lower() + joint: {side + marker: 1.0}
        for side in "LR"
        for joint, marker in {"knee": "KNE", "ankle": "ANK", "shoulder": "SHO", "elbow": "ELB"}.items()
    },
}
"""H36M-17 joints from markers of Plug-in Gait; root and hips are lowered afterwards."""


PELVIS = ("LASI", "RASI", "LPSI", "RPSI")


def list_known_markers() -> frozenset[str]:
    """Return the names, in any of the sets, of all markers that joints are computed from."""
    used = {marker for parts in TABLE.values() for marker in parts}
    return frozenset(marker_set.name_of(marker) for marker_set in MARKER_SETS for marker in used)


def find_marker_set(names: Collection[str]) -> MarkerSet | None:
    """Return the first set whose pelvis markers are all among ``names``; joints need a pelvis."""
    return next((each for each in MARKER_SETS if {each.name_of(marker) for marker in PELVIS} <= set(names)), None)


def markers_to_h36m17(
    names: Sequence[str],
    positions_TM3: Float[np.ndarray, "T M 3"],
    seen_TM: Bool[np.ndarray, "T M"],
    *,
    marker_set: MarkerSet = MARKER_SETS[0],
) -> tuple[Float[np.ndarray, "T 17 3"], Float[np.ndarray, "T 17"]]:
    """Turn named markers into H36M-17 joints.

    Args:
        names: One per marker; those that the set does not use are ignored.
        positions_TM3: Metres, right-handed, any axis up.
        seen_TM: Whether the marker was found in the frame.
        marker_set: The set that the names belong to.

    Returns:
        Positions in metres in the same axes, and confidence: 1 where all markers of a joint were seen, else 0 (and the
        position is 0).
    """
    table = {joint: _renamed(parts, marker_set) for joint, parts in TABLE.items()}
    present = {joint: parts for joint, parts in table.items() if set(parts) <= set(names)}
    conversion = Conversion(source_joints=tuple(names), target=H36M17, table=present)
    safe_TM3 = np.where(seen_TM[..., None], positions_TM3, 0.0)
    positions_TJ3 = conversion.positions(safe_TM3)
    confidence_TJ = conversion.confidence(seen_TM.astype(np.float32))
    pelvis = [H36M17.index(joint) for joint in ("root", "lhip", "rhip")]
    if "root" in present:
        corners = [list(names).index(marker_set.name_of(marker)) for marker in PELVIS]
        up_T3, known_T = _pelvis_up(safe_TM3[:, corners])
        positions_TJ3[:, pelvis] -= HIP_BELOW_PELVIS_M * up_T3[:, None]
        confidence_TJ[:, pelvis] *= (known_T & (confidence_TJ[:, pelvis[0]] > 0))[:, None]
    else:
        confidence_TJ[:, pelvis] = 0
    return np.where(confidence_TJ[..., None] > 0, positions_TJ3, 0.0), confidence_TJ


def middles_to_h36m17(
    names: Sequence[str],
    positions_TM3: Float[np.ndarray, "T M 3"],
    seen_TM: Bool[np.ndarray, "T M"],
    table: Mapping[str, str | Mapping[str, float]],
) -> tuple[Float[np.ndarray, "T 17 3"], Float[np.ndarray, "T 17"]]:
    """Turn markers into joints that are means of markers, as a user's ``joint_map.json`` states.

    Args:
        names: One per marker.
        positions_TM3: In any unit and axes.
        seen_TM: Whether the marker was found in the frame.
        table: H36M-17 joint to its marker, or to the weights of its markers.

    Returns:
        Positions, and confidence: 1 where all markers of a joint were seen, else 0 (and the position is 0).
    """
    conversion = Conversion(source_joints=tuple(names), target=H36M17, table=table)
    positions_TJ3 = conversion.positions(np.where(seen_TM[..., None], positions_TM3, 0.0))
    confidence_TJ = conversion.confidence(seen_TM.astype(np.float32))
    return np.where(confidence_TJ[..., None] > 0, positions_TJ3, 0.0), confidence_TJ


def _renamed(parts: Mapping[str, float], marker_set: MarkerSet) -> dict[str, float]:
    """Weights by the set's own names; if one marker replaces two, their weights add up."""
    renamed: dict[str, float] = {}
    for marker, weight in parts.items():
        name = marker_set.name_of(marker)
        renamed[name] = renamed.get(name, 0.0) + weight
    return renamed


def _pelvis_up(
    corners_T43: Float[np.ndarray, "T 4 3"],
) -> tuple[Float[np.ndarray, "T 3"], Bool[np.ndarray, "T"]]:
    """The pelvis's own upward direction (forward x left), and whether it has one: its markers may be collinear."""
    left_asi, right_asi, left_psi, right_psi = np.moveaxis(corners_T43, 1, 0)
    forward_T3 = left_asi + right_asi - left_psi - right_psi
    left_T3 = left_asi + left_psi - right_asi - right_psi
    up_T3 = np.cross(forward_T3, left_T3)
    length_T = np.linalg.norm(up_T3, axis=-1)
    return up_T3 / np.where(length_T > 0, length_T, 1.0)[:, None], length_T > 0
