"""UTD-MHAD, ``aA_sS_tT_skeleton.mat``: the joints of one trial in the variable ``d_skel``, 20 x 3 x frames.

The joints are those of a Kinect v1 in the data set's own order: metres, camera space, Y up, about 30 Hz (the data set's
page). Files of the other sensors (``_inertial.mat``, ``_depth.mat``) contain other variables and are not read.

Shapes: T frames, K = 20 joints, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.containers.matlab import read_variables, shapes_in
from datasets.joints.kinect import v1_conversion
from datasets.joints.tables import to_canonical
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source

FPS = 30.0
LABELS = (
    "swipe_left", "swipe_right", "wave", "clap", "throw", "arm_cross", "basketball_shoot", "draw_x", "draw_circle_CW",
    "draw_circle_CCW", "draw_triangle", "bowling", "boxing", "baseball_swing", "tennis_swing", "arm_curl",
    "tennis_serve", "push", "knock", "catch", "pickup_throw", "jog", "walk", "sit2stand", "stand2sit", "lunge", "squat",
)  # fmt: skip
UTD_MHAD = Source(
    name="utd_mhad",
    kind="action",
    licence_note="academic research, with a citation; ask its makers",
    url="https://www.utdallas.edu/~kehtar/UTD-MHAD.html",
    test_subjects=frozenset(f"utd_mhad/s{person}" for person in (2, 4, 6, 8)),
    labels=LABELS,
)
SOURCES = (UTD_MHAD,)
JOINTS = (
    "head", "shouldercenter", "spine", "hipcenter", "lshoulder", "lelbow", "lwrist", "lhand",
    "rshoulder", "relbow", "rwrist", "rhand", "lhip", "lknee", "lankle", "lfoot", "rhip", "rknee", "rankle", "rfoot",
)  # fmt: skip
CONVERSION = v1_conversion(JOINTS)
_VARIABLE = "d_skel"
_NAME = re.compile(r"a(?P<action>\d{1,2})_s(?P<person>\d)_t\d_skeleton\.mat", re.IGNORECASE)


class UtdMhadReader:
    """Reads the joints of one trial per file."""

    name = "utd_mhad"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim files of the data set's name whose variable ``d_skel`` is 20 x 3 x frames."""
        return [
            Recording(path=file.path, reader=self.name, source=UTD_MHAD, size=file.size)
            for file in files
            if _NAME.fullmatch(PurePosixPath(file.path).name)
            and shapes_in(file).get(_VARIABLE, ())[:2] == (len(JOINTS), 3)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a trial."""
        path = PurePosixPath(recording.path)
        name = _NAME.fullmatch(path.name)
        if name is None or not 1 <= int(name["action"]) <= len(LABELS):
            raise _error(recording.path, "name", f"aA_sS_tT_skeleton.mat, A from 1 to {len(LABELS)}", path.name)
        joints_K3T = read_variables(recording.path, [_VARIABLE]).get(_VARIABLE, np.zeros(0))
        if joints_K3T.ndim == 2:  # MATLAB drops a last dimension of 1
            joints_K3T = joints_K3T[..., None]
        if joints_K3T.shape[:2] != (len(JOINTS), 3) or joints_K3T.ndim != 3 or joints_K3T.dtype.kind not in "fiu":
            found = f"{joints_K3T.shape} of {joints_K3T.dtype}"
            raise _error(recording.path, _VARIABLE, f"numbers, {len(JOINTS)} x 3 x frames", found)
        joints_TK3 = joints_K3T.transpose(2, 0, 1).astype(np.float64)
        positions_TJ3, confidence_TJ = to_canonical(CONVERSION, joints_TK3, np.ones(joints_TK3.shape[:2]))
        label = int(name["action"]) - 1
        yield MotionSequence(
            source=UTD_MHAD,
            sequence_id=path.stem.lower().removesuffix("_skeleton"),
            subject=f"utd_mhad/s{name['person']}",
            action=LABELS[label],
            label=label,
            fps=FPS,
            keypoints_3d_TJC=positions_TJ3,
            confidence_TJ=confidence_TJ,
            repairs=(f"frame rate not stated in the file: {FPS:g} Hz as on the data set's page",),
        )


READER = UtdMhadReader()


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the trial again.")
