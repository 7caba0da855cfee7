"""UI-PRMD recorded by a Kinect v2: joint angles and offsets of 22 joints, 30 Hz.

``_positions`` contains the position of the waist (centimetres, Y up), and for every other joint its offset in the axes
of its PARENT; ``_angles`` beside it contains each joint's rotation about x, y, z in degrees. The order of the rotations
is not documented: R = Rz·Rx·Ry is the only one of the six that keeps the feet on the floor in a squat (they drift by 3
cm; by 10 cm and more with the others) and bends the knees as much as Vicon measured. G = G_parent · R and x = x_parent
+ G_parent · offset hold for all joints, also for the collars: other implementations that apply only the chest's own
rotation to its children twist the shoulders against the hips (cosine 0.57 in the inline lunge, here 0.99, Vicon 1.00).

Bone lengths vary by up to half, since the sensor estimates the joints independently in every frame.

Shapes: T frames, N = 22 joints as recorded, J = 17 joints.
"""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.joints.kinematics import euler_rotation, world_positions, world_rotations
from datasets.readers.action.ui_prmd import LABELS, LICENCE, TEST_SUBJECTS, URL, is_table, named_sequence, read_table
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

FPS = 30.0
"""The rate stated in the data set's paper; the files state none."""
METRES = 0.01
JOINTS = (
    "waist", "spine", "chest", "neck", "head", "headtip", "lcollar", "lupperarm", "lforearm", "lhand",
    "rcollar", "rupperarm", "rforearm", "rhand", "lupperleg", "llowerleg", "lfoot", "ltoes",
    "rupperleg", "rlowerleg", "rfoot", "rtoes",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)
COLUMNS = 3 * len(JOINTS)
CONVERSION = Conversion(
    source_joints=JOINTS,
    target=H36M17,
    table={
        "root": "waist", "belly": "spine", "neck": "neck", "nose": "head", "head": "headtip",
        "rhip": "rupperleg", "rknee": "rlowerleg", "rankle": "rfoot",
        "lhip": "lupperleg", "lknee": "llowerleg", "lankle": "lfoot",
        "lshoulder": "lupperarm", "lelbow": "lforearm", "lwrist": "lhand",
        "rshoulder": "rupperarm", "relbow": "rforearm", "rwrist": "rhand",
    },
)  # fmt: skip
SOURCES = (
    Source(name="ui_prmd_kinect", kind="action", licence=LICENCE, url=URL, test_subjects=TEST_SUBJECTS, labels=LABELS),
)


class UiPrmdKinectReader:
    """Reads a ``_positions`` file together with its ``_angles``."""

    name = "ui_prmd_kinect"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim positions with 66 columns; the angles have the same name, in the same folder or in ``../Angles``."""
        files = list(files)
        paths = {file.path.lower(): file.path for file in files}
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=SOURCES[0],
                companions=tuple(paths[angles] for angles in _angles_of(file.path) if angles in paths)[:1],
                size=file.size,
            )
            for file in files
            if is_table(file, COLUMNS)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file."""
        if not recording.companions:
            raise _error(recording.path, "angles", "a file of the same name with _angles for _positions", "none")
        offset_TN3 = read_table(recording.path, COLUMNS).reshape(-1, len(JOINTS), 3)
        angles_TN3 = read_table(recording.companions[0], COLUMNS).reshape(-1, len(JOINTS), 3)
        if len(offset_TN3) != len(angles_TN3):
            raise _error(recording.path, "rows", f"{len(angles_TN3)}, as in the angles", f"{len(offset_TN3)}")
        positions_TJ3 = METRES * CONVERSION.positions(joint_positions(offset_TN3, angles_TN3))
        seen_TJ = np.ones(positions_TJ3.shape[:2])
        yield named_sequence(recording, fps=FPS, positions_TJ3=positions_TJ3, confidence_TJ=seen_TJ)


READER = UiPrmdKinectReader()


def joint_positions(
    offset_TN3: Float[np.ndarray, "T 22 3"], angles_TN3: Float[np.ndarray, "T 22 3"]
) -> Float[np.ndarray, "T 22 3"]:
    """Return every joint's position by forward kinematics, in the unit of the offsets."""
    local_TN33 = euler_rotation("ZXY", angles_TN3[..., [2, 0, 1]])
    world_TN33 = world_rotations(PARENTS, local_TN33)
    step_TN3 = offset_TN3.copy()
    step_TN3[:, 1:] = np.einsum("tnij,tnj->tni", world_TN33[:, list(PARENTS[1:])], offset_TN3[:, 1:])
    return world_positions(PARENTS, step_TN3)


def _angles_of(path: str) -> tuple[str, str]:
    """Possible paths of a recording's angles, in lower case: beside it, or in the data set's own folders."""
    here = PurePosixPath(path.lower())
    name = here.name.replace("_positions", "_angles")
    folder = path.lower().removesuffix(here.name)
    above = folder.removesuffix("positions/")
    return folder + name, f"{above}angles/{name}"


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the two files again.")
