"""MSR-Action3D, ``aAA_sSS_eEE_skeleton3D.txt``: 20 lines a frame, ``x y z confidence``.

The joints are those of a Kinect v1 in the data set's own order; positions are metres with Y up, confidence is 0 or 1,
and lost joints are at 0 (in one clip, a13_s09_e02, all of them). The rate, 15 Hz, is from the data set's paper. Files
named ``_skeleton.txt`` contain pixels and depth instead and are not read.

It is an open question which side is left: the literature calls the limbs that begin with joint 0 the right ones, but in
right-handed axes, with feet and face forward, they are on the left. This reader follows the axes, so that bodies are
never mirrored; every sequence says so.

Shapes: T frames, K = 20 joints, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.files import head, read_bytes
from datasets.joints.kinect import v1_conversion
from datasets.joints.tables import to_canonical
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source

ASSUMED_FPS = 15.0
LABELS = (
    "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw", "draw x",
    "draw tick", "draw circle", "hand clap", "two hand wave", "side-boxing", "bend", "forward kick", "side kick",
    "jogging", "tennis swing", "tennis serve", "golf swing", "pick up and throw",
)  # fmt: skip
MSR_ACTION3D = Source(
    name="msr_action3d",
    kind="action",
    licence_note="academic research; ask its makers",
    url="https://sites.google.com/view/wanqingli/data-sets/msr-action3d",
    test_subjects=frozenset(f"msr_action3d/s{person:02d}" for person in (2, 4, 6, 8, 10)),
    labels=LABELS,
)
SOURCES = (MSR_ACTION3D,)
JOINTS = (
    "lshoulder", "rshoulder", "shouldercenter", "spine", "lhip", "rhip", "hipcenter", "lelbow", "relbow", "lwrist",
    "rwrist", "lhand", "rhand", "lknee", "rknee", "lankle", "rankle", "lfoot", "rfoot", "head",
)  # fmt: skip
"""The order of the lines, with the side of joint 0 as left."""
CONVERSION = v1_conversion(JOINTS)
_COLUMNS = 4
_NAME = re.compile(r"a(?P<action>\d\d)_s(?P<person>\d\d)_e\d\d_skeleton3D\.txt", re.IGNORECASE)


class MsrAction3dReader:
    """Reads the joints of one clip per file."""

    name = "msr_action3d"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim files of the data set's name whose lines have four columns."""
        return [
            Recording(path=file.path, reader=self.name, source=MSR_ACTION3D, size=file.size)
            for file in files
            if _NAME.fullmatch(PurePosixPath(file.path).name)
            and len(head(file).partition(b"\n")[0].split()) == _COLUMNS
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a clip."""
        path = PurePosixPath(recording.path)
        name = _NAME.fullmatch(path.name)
        if name is None or not 1 <= int(name["action"]) <= len(LABELS):
            raise _error(recording.path, "name", f"aAA_sSS_eEE_skeleton3D.txt, AA from 01 to {len(LABELS)}", path.name)
        values = read_bytes(recording.path).split()
        per_frame = _COLUMNS * len(JOINTS)
        if not values or len(values) % per_frame:
            expected = f"{per_frame} numbers a frame, {len(JOINTS)} lines of {_COLUMNS}"
            raise _error(recording.path, "lines", expected, f"{len(values)} in all")
        try:
            values_TKC = np.array(values, np.float64).reshape(-1, len(JOINTS), _COLUMNS)
        except ValueError as error:
            raise _error(recording.path, "lines", "only numbers", str(error)[:100]) from error
        positions_TJ3, confidence_TJ = to_canonical(CONVERSION, values_TKC[..., :3], values_TKC[..., 3])
        label = int(name["action"]) - 1
        yield MotionSequence(
            source=MSR_ACTION3D,
            sequence_id=path.stem.lower().removesuffix("_skeleton3d"),
            subject=f"msr_action3d/s{name['person']}",
            action=LABELS[label],
            label=label,
            fps=ASSUMED_FPS,
            keypoints_3d_TJC=positions_TJ3,
            confidence_TJ=confidence_TJ,
            repairs=(
                f"frame rate not stated: {ASSUMED_FPS:g} Hz as in the paper",
                "left and right not settled: as right-handed axes have them",
            ),
        )


READER = MsrAction3dReader()


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the clip again.")
