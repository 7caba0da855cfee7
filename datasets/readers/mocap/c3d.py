"""C3D: markers of optical motion capture, turned into joints by a declared marker set.

The file itself is read by ``c3d_file.py``. The unit is POINT:UNITS, up is POINT:Y_SCREEN; where a file states neither,
the body tells, and ``repairs`` says so. Labels such as ``Jim:LASI`` name the subject; each subject is a sequence.

Shapes: T frames, M markers of one subject, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.path_rules import CMU
from datasets.files import head, read_bytes
from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.marker_sets import MARKER_SETS, PELVIS, MarkerSet, known_markers, marker_set_of, markers_to_h36m17
from datasets.joints.rigs import is_mirrored, unit_by_proportions
from datasets.readers.mocap.c3d_file import Trial, looks_like_c3d, parse_c3d
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

SOURCES = (Source(name="c3d", kind="mocap", url=""),)
UNITS_M = {
    "mm": 0.001, "millimeter": 0.001, "millimetre": 0.001, "cm": 0.01, "centimeter": 0.01, "centimetre": 0.01,
    "dm": 0.1, "m": 1.0, "meter": 1.0, "metre": 1.0, "in": 0.0254, "inch": 0.0254, "inche": 0.0254,
}  # fmt: skip
"""Without a plural s."""
FAR_M = 1000.0
"""No laboratory reaches so far."""
_CMU = re.compile(r"(?:^|/)(?P<subject>\d{2,3})_\d{2,3}\.c3d$", re.IGNORECASE)
_PERSON = re.compile(r"(?:subject|subj|actor|performer|person)[_-]?(\d+)", re.IGNORECASE)


class C3dReader:
    """Reads C3D files whose markers are of a set in ``marker_sets.py``."""

    name = "c3d"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.c3d``, and what begins as one."""
        return [
            Recording(path=file.path, reader=self.name, source=_source(file.path), size=file.size)
            for file in files
            if file.path.lower().endswith(".c3d") or looks_like_c3d(head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per subject."""
        trial = parse_c3d(read_bytes(recording.path), recording.path)
        subjects = subjects_of(trial.labels)
        if not subjects:
            raise RecordingError(
                recording.path,
                where="POINT:LABELS",
                expected=f"the pelvis markers of a set we know ({'; '.join(each.name for each in MARKER_SETS)})",
                found=", ".join(trial.labels) or "none",
                fix="Add the set to datasets/joints/marker_sets.py.",
            )
        for subject, markers in subjects.items():
            yield _sequence(recording, trial, subject, markers, alone=len(subjects) == 1)


READER = C3dReader()


def subjects_of(labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return each subject's markers and their points; ``Jim:LASI`` and ``Jim_LASI`` are Jim's, ``LASI`` is of ``""``.

    A subject without the pelvis of any known set is left out: it is a ball, a bat, or somebody half marked.
    """
    known = known_markers()
    subjects: dict[str, dict[str, int]] = {}
    for point, label in enumerate(labels):
        match = re.match(r"^(?:(.*)[:_])?([^:_]+)$", label.strip())
        if match and match[2].upper() in known:
            subjects.setdefault(match[1] or "", {}).setdefault(match[2].upper(), point)
    return {subject: markers for subject, markers in subjects.items() if marker_set_of(markers)}


def _sequence(
    recording: Recording, trial: Trial, subject: str, markers: dict[str, int], *, alone: bool
) -> MotionSequence:
    marker_set = marker_set_of(markers)
    assert marker_set is not None  # subjects_of leaves out the others
    points = list(markers.values())
    seen_TM = trial.seen_TP[:, points]
    unit_m, unit_repairs = _unit(trial, markers, marker_set, recording.path)
    positions_TM3 = trial.points_TP3[:, points] * unit_m
    if not (np.abs(positions_TM3) < FAR_M).all():
        raise _error(recording.path, "points", f"markers within {FAR_M:g} m", f"{np.abs(positions_TM3).max():g} m")
    positions_TJ3, confidence_TJ = markers_to_h36m17(tuple(markers), positions_TM3, seen_TM, marker_set=marker_set)
    _check_sides(positions_TM3, positions_TJ3, confidence_TJ, list(markers), marker_set, recording.path)
    up_3, up_repairs = _up(trial, positions_TJ3, confidence_TJ)
    path = recording.path
    return MotionSequence(
        source=recording.source,
        sequence_id="/".join(filter(None, (_name(path), "" if alone else subject))),
        subject=f"{recording.source}/{_who(path, subject, alone=alone)}".lower(),
        fps=trial.rate,
        keypoints_3d_TJC=(positions_TJ3 @ rotation_to_y_up(up_3).T).astype(np.float32),
        confidence_TJ=confidence_TJ.astype(np.float32),
        repairs=(*unit_repairs, *up_repairs),
    )


def _unit(trial: Trial, markers: Mapping[str, int], marker_set: MarkerSet, path: str) -> tuple[float, tuple[str, ...]]:
    """POINT:UNITS; else by the proportions of the body in the frame that shows most of it."""
    if unit_m := UNITS_M.get(trial.units.lower().rstrip("s")):
        return unit_m, ()
    points = list(markers.values())
    best = [int(trial.seen_TP[:, points].sum(axis=1).argmax())]
    points_1M3, seen_1M = trial.points_TP3[best][:, points], trial.seen_TP[best][:, points]
    [rest_J3], [confidence_J] = markers_to_h36m17(tuple(markers), points_1M3, seen_1M, marker_set=marker_set)
    seen = [joint for joint, confidence in zip(H36M17.joints, confidence_J, strict=True) if confidence]
    return unit_by_proportions(rest_J3, seen, path)


def _up(
    trial: Trial, positions_TJ3: Float[np.ndarray, "T 17 3"], confidence_TJ: Float[np.ndarray, "T 17"]
) -> tuple[Float[np.ndarray, "3"], tuple[str, ...]]:
    """Y_SCREEN; else the axis along which the spine points on the whole, and Z for a body never seen whole."""
    stated = re.fullmatch(r"([+-]?)([XYZ])", trial.up.upper())
    spine_T3 = positions_TJ3[:, H36M17.index("neck")] - positions_TJ3[:, H36M17.index("root")]
    seen_T = (confidence_TJ[:, [H36M17.index("neck"), H36M17.index("root")]] > 0).all(axis=1)
    mean_3 = spine_T3[seen_T].sum(axis=0)
    up_3 = np.zeros(3)
    if stated:
        up_3["XYZ".index(stated[2])] = -1 if stated[1] == "-" else 1
        return up_3, ()
    k = int(np.abs(mean_3).argmax()) if mean_3.any() else 2
    up_3[k] = -1 if mean_3[k] < 0 else 1
    return up_3, (f"up axis not stated: {'-' if up_3[k] < 0 else '+'}{'XYZ'[k]} by the spine",)


def _check_sides(
    positions_TM3: Float[np.ndarray, "T M 3"],
    positions_TJ3: Float[np.ndarray, "T 17 3"],
    confidence_TJ: Float[np.ndarray, "T 17"],
    names: list[str],
    marker_set: MarkerSet,
    path: str,
) -> None:
    """Refuse a body whose left pelvis markers lie on its right, seen from its back to its front."""
    left_asi, right_asi, left_psi, right_psi = (
        positions_TM3[:, names.index(marker_set.name_of(marker))] for marker in PELVIS
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
    """The person that the path names, else the subject that the labels name, else the folder."""
    if cmu := _CMU.search(path):
        return cmu["subject"]
    person = _PERSON.findall(path)
    in_path = f"subject{person[-1]}" if person else ""
    if in_path and (alone or not subject):
        return in_path
    return "/".join(filter(None, (in_path, subject))) or PurePosixPath(path).parent.name


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, or export it anew."
    )
