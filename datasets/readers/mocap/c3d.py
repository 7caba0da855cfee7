"""C3D: markers of optical motion capture, converted to joints with a marker set or a ``joint_map.json``.

The file itself is parsed by ``c3d_file.py``. The unit is POINT:UNITS, and up is POINT:Y_SCREEN unless the body in
motion contradicts it; what a file does not state is found from the body and listed in ``repairs``. Labels such as
``Jim:LASI`` name the subject; each subject is a sequence.

Shapes: T frames, M markers of one subject, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.path_rules import CMU
from datasets.files import head, read_bytes
from datasets.joints import joint_map
from datasets.joints.joint_map import JointMap
from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.marker_sets import (
    MARKER_SETS,
    PELVIS,
    MarkerSet,
    find_marker_set,
    list_known_markers,
    markers_to_h36m17,
    middles_to_h36m17,
)
from datasets.joints.sides import is_mirrored
from datasets.joints.units import unit_by_proportions
from datasets.joints.up_axis import axis_vector, find_up, trunk_axis
from datasets.readers.mocap.c3d_file import Trial, looks_like_c3d, parse_c3d
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

SOURCES = (Source(name="c3d", kind="mocap", url=""),)
UNITS_M = {
    "mm": 0.001, "millimeter": 0.001, "millimetre": 0.001, "cm": 0.01, "centimeter": 0.01, "centimetre": 0.01,
    "dm": 0.1, "m": 1.0, "meter": 1.0, "metre": 1.0, "in": 0.0254, "inch": 0.0254, "inche": 0.0254,
}  # fmt: skip
"""Metres per unit; the names are without a plural s."""
FAR_M = 1000.0
"""Largest plausible coordinate, in metres."""
_CMU = re.compile(r"(?:^|/)(?P<subject>\d{2,3})_\d{2,3}\.c3d$", re.IGNORECASE)
_PERSON = re.compile(r"(?:subject|subj|actor|performer|person)[_-]?(\d+)", re.IGNORECASE)


class C3dReader:
    """Reads C3D files whose markers belong to a set in ``marker_sets.py``, or are listed in a ``joint_map.json``."""

    name = "c3d"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.c3d``, and files that begin like one; the nearest joint map, if any, is a companion."""
        files = list(files)
        maps = [file.path for file in files if PurePosixPath(file.path).name == joint_map.NAME]
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=_source(file.path),
                companions=joint_map.nearest_map(file.path, maps),
                size=file.size,
            )
            for file in files
            if file.path.lower().endswith(".c3d") or looks_like_c3d(head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per subject."""
        trial = parse_c3d(read_bytes(recording.path), recording.path)
        said = joint_map.read_map(recording.companions[0]) if recording.companions else None
        bodies = (bodies_by_map(trial.labels, said) if said else []) or bodies_by_set(trial.labels)
        if not bodies:
            raise RecordingError(
                recording.path,
                where="POINT:LABELS",
                expected=f"the pelvis markers of a set we know ({'; '.join(each.name for each in MARKER_SETS)})",
                found=", ".join(trial.labels) or "none",
                fix="Say which markers make which joint in a joint_map.json beside the recordings (docs/data.md).",
            )
        for body in bodies:
            yield _sequence(recording, trial, body, said, alone=len(bodies) == 1)


READER = C3dReader()


@dataclass(frozen=True, kw_only=True)
class Body:
    """The markers of one subject."""

    subject: str
    """The subject's name in the labels; empty if they have none."""
    points: dict[str, int]
    """Marker to its point in the file."""
    marker_set: MarkerSet | None
    """The set that the markers belong to; None if the user's map lists them."""
    said: JointMap | None = None

    def joints(
        self, positions_TM3: Float[np.ndarray, "T M 3"], seen_TM: Bool[np.ndarray, "T M"], path: str
    ) -> tuple[Float[np.ndarray, "T 17 3"], Float[np.ndarray, "T 17"]]:
        """Turn the markers, in the order of ``points``, into joints with their confidence."""
        names = tuple(self.points)
        if self.marker_set is not None:
            return markers_to_h36m17(names, positions_TM3, seen_TM, marker_set=self.marker_set)
        assert self.said is not None, "a body without a marker set comes from a map"
        return middles_to_h36m17(names, positions_TM3, seen_TM, self.said.table(names, path))


def bodies_by_set(labels: Sequence[str]) -> list[Body]:
    """Return the subjects that have a known marker set; ``Jim:LASI`` and ``Jim_LASI`` belong to Jim, ``LASI`` to "".

    A subject without the pelvis of any known set is left out: it is a ball, a bat, or an incomplete person.
    """
    known = list_known_markers()
    subjects: dict[str, dict[str, int]] = {}
    for point, label in enumerate(labels):
        match = re.match(r"^(?:(.*)[:_])?([^:_]+)$", label.strip())
        if match and match[2].upper() in known:
            subjects.setdefault(match[1] or "", {}).setdefault(match[2].upper(), point)
    return [
        Body(subject=subject, points=points, marker_set=marker_set)
        for subject, points in subjects.items()
        if (marker_set := find_marker_set(points))
    ]


def bodies_by_map(labels: Sequence[str], said: JointMap) -> list[Body]:
    """Return the subjects that have the root markers of a map; empty if the map is for other files."""
    wanted = said.names()
    subjects: dict[str, dict[str, int]] = {}
    for point, label in enumerate(labels):
        subject, _, marker = label.strip().rpartition(":")
        if marker in wanted:
            subjects.setdefault(subject, {}).setdefault(marker, point)
    return [
        Body(subject=subject, points=points, marker_set=None, said=said)
        for subject, points in subjects.items()
        if set(said.joints["root"]) <= set(points)
    ]


def _sequence(recording: Recording, trial: Trial, body: Body, said: JointMap | None, *, alone: bool) -> MotionSequence:
    path, points = recording.path, list(body.points.values())
    seen_TM = trial.seen_TP[:, points]
    unit_m, unit_repairs = _unit(trial, body, said, path)
    positions_TM3 = trial.points_TP3[:, points] * unit_m
    if not (np.abs(positions_TM3) < FAR_M).all():
        raise _error(path, "points", f"markers within {FAR_M:g} m", f"{np.abs(positions_TM3).max():g} m")
    positions_TJ3, confidence_TJ = body.joints(positions_TM3, seen_TM, path)
    _check_sides(positions_TM3, positions_TJ3, confidence_TJ, body, path)
    up, up_repairs = _up(trial, positions_TJ3, confidence_TJ > 0, said)
    return MotionSequence(
        source=recording.source,
        sequence_id="/".join(filter(None, (_name(path), "" if alone else body.subject))),
        subject=f"{recording.source}/{_who(path, body.subject, alone=alone)}".lower(),
        fps=trial.rate,
        keypoints_3d_TJC=(positions_TJ3 @ rotation_to_y_up(axis_vector(up)).T).astype(np.float32),
        confidence_TJ=confidence_TJ.astype(np.float32),
        repairs=(*unit_repairs, *up_repairs),
    )


def _unit(trial: Trial, body: Body, said: JointMap | None, path: str) -> tuple[float, tuple[str, ...]]:
    """Metres per unit by the user, POINT:UNITS, or body proportions in the frame with most markers, in this order."""
    if said and said.unit_m is not None:
        return said.unit_m, ()
    if unit_m := UNITS_M.get(trial.units.lower().rstrip("s")):
        return unit_m, ()
    points = list(body.points.values())
    best = [int(trial.seen_TP[:, points].sum(axis=1).argmax())]
    [rest_J3], [confidence_J] = body.joints(trial.points_TP3[best][:, points], trial.seen_TP[best][:, points], path)
    seen = [joint for joint, confidence in zip(H36M17.joints, confidence_J, strict=True) if confidence]
    return unit_by_proportions(rest_J3, seen, path)


def _up(
    trial: Trial, points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"], said: JointMap | None
) -> tuple[str, tuple[str, ...]]:
    """The up axis by the user, Y_SCREEN unless the body contradicts it, or the body, in this order."""
    if said and said.up:
        return said.up, ()
    stated = re.fullmatch(r"([+-]?)([XYZ])", trial.up.upper())
    if stated:
        axis = f"{stated[1] or '+'}{stated[2]}"
        up = find_up(points_TJ3, seen_TJ, usual=axis)
        return up.axis, (f"up axis {up.axis}, not {axis} as stated: {up.reason}",) if up.reason else ()
    posture = trunk_axis(points_TJ3, seen_TJ)
    if not posture:
        return "+Z", ("up axis not stated: +Z assumed",)
    usual = [axis for axis in ("+Z", "+Y") if find_up(points_TJ3, seen_TJ, usual=axis, agreeing=posture).axis == axis]
    axis, evidence = (posture, "spine") if posture in usual or not usual else (usual[0], "floor")
    return axis, (f"up axis not stated: {axis} by the {evidence}",)


def _check_sides(
    positions_TM3: Float[np.ndarray, "T M 3"],
    positions_TJ3: Float[np.ndarray, "T 17 3"],
    confidence_TJ: Float[np.ndarray, "T 17"],
    body: Body,
    path: str,
) -> None:
    """Reject a body whose left pelvis markers are on its right, seen from behind."""
    if body.marker_set is None:
        return
    names = list(body.points)
    left_asi, right_asi, left_psi, right_psi = (
        positions_TM3[:, names.index(body.marker_set.name_of(marker))] for marker in PELVIS
    )
    root, neck = H36M17.index("root"), H36M17.index("neck")
    seen_T = (confidence_TJ[:, [root, neck]] > 0).all(axis=1)
    forward_T3 = left_asi + right_asi - left_psi - right_psi
    up_T3 = positions_TJ3[:, neck] - positions_TJ3[:, root]
    if is_mirrored(up_T3[seen_T], forward_T3[seen_T], (left_asi - right_asi)[seen_T]):
        raise RecordingError(
            path,
            where="left and right",
            expected="the left pelvis marker left of the right one, seen from the back",
            found="it on the other side: labels exchanged, or left-handed coordinates",
            fix="Correct the labels, or export it right-handed.",
        )


def _source(path: str) -> Source:
    return CMU if _CMU.search(path) else SOURCES[0]


def _name(path: str) -> str:
    return PurePosixPath(path).name if _CMU.search(path) else "/".join(PurePosixPath(path).parts[-2:])


def _who(path: str, subject: str, *, alone: bool) -> str:
    """The person in the path, the subject in the labels, or the folder, in this order."""
    if cmu := _CMU.search(path):
        return cmu["subject"]
    person = _PERSON.findall(path)
    in_path = f"subject{person[-1]}" if person else ""
    if in_path and (alone or not subject):
        return in_path
    return "/".join(filter(None, (in_path, subject))) or PurePosixPath(path).parent.name


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, or export it again."
    )
