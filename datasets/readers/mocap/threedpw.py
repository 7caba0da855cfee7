"""3DPW, 3D Poses in the Wild: `sequenceFiles/{train,validation,test}/*.pkl`, one or two people, a moving camera.

von Marcard et al., "Recovering Accurate 3D Human Pose in The Wild Using IMUs and a Moving Camera", ECCV 2018; the data
set's readme.txt. Each file is a dictionary, pickled by Python 2. These entries are lists with one item per person:
`jointPositions` [T, 72] (24 joints of SMPL, metres, world axes), `poses2d` [T, 3, 18] (x, y, confidence in pixels, in
OpenPose's COCO order; 0 where fewer than six joints were detected), `poses`, `trans`, `betas`, `genders`,
`campose_valid`. These are for all people: `sequence`, `img_frame_ids` [T] (numbers at 60 Hz of the frames that belong
to the images, which are at 30 Hz), `cam_poses` [T, 4, 4] (world to camera) and `cam_intrinsics` [3, 3].

Each person gives two sequences, since 2D and 3D are observed at different times: 3D in the world, and the 2D detections
("/2d").

- Joints. SMPL's joints are not H36M's. Those with the same name are used, the root is the middle of the hips, belly is
  spine2, nose is SMPL's head joint, as in `amass` without its regressor; the top of the head is absent.
- Up is not documented. Cameras are held nearly upright, and their poses are known: the axis of the world nearest to
  their mean upward direction is up, if the angle between them is below 45 degrees.
- Time. Steps of `img_frame_ids` that differ from 2 by one result from the rounding of two clocks; longer ones are gaps
  of lost images, and a sequence is split at gaps of more than two seconds.
- The image size is 1920 x 1080 or 1080 x 1920, whichever has its middle nearer to the optical centre.

People are not named: the folder decides who is held out (test and validation, each as one subject). Where
`campose_valid` is 0 the camera was not aligned to the person; the motion is still valid and kept.

Shapes: T frames, K = 24 joints of SMPL or 18 keypoints, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.timeline import split_tracklets
from datasets.containers import pickles
from datasets.files import head
from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.tables import OPENPOSE18_TO_H36M17, SMPL24_TO_H36M17, to_canonical
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float, Int

FPS = 30.0
IDS_PER_IMAGE = 2
IMAGE_SIZE = (1920, 1080)
MIN_UPRIGHT = 0.7
"""Smallest cosine between the up axis of the world and the cameras' mean upward direction."""
THREEDPW = Source(
    name="3dpw",
    kind="mocap",
    licence="3DPW: non-commercial scientific research only (https://virtualhumans.mpi-inf.mpg.de/3DPW/license.html)",
    url="https://virtualhumans.mpi-inf.mpg.de/3DPW",
    test_subjects=frozenset({"3dpw/test", "3dpw/validation"}),
)
SOURCES = (THREEDPW,)
_OWN = rb"cam_poses|campose_valid|cam_intrinsics|img_frame_ids|jointPositions|poses2d|\w+_60Hz|\w+_clothed"
_SHARED = rb"sequence|genders?|texture_maps|betas|poses|trans"
_FIRST_KEY = re.compile(
    rb"(?:\x80.(?:\x95.{8})?)?[(}].{0,16}?(?:\W|V)(?:(?P<own>%s)|(?P<shared>%s))" % (_OWN, _SHARED), re.DOTALL
)


class ThreeDpwReader:
    """Reads a sequence's pickle; each person is one sequence of 3D and one of 2D."""

    name = "3dpw"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim pickles by their first key; a key of other formats too only counts in a folder ``sequenceFiles``."""
        return [
            Recording(path=file.path, reader=self.name, source=THREEDPW, size=file.size)
            for file in files
            if _is_ours(file)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the people in the order of the file, for each first 3D, then 2D."""
        data, path = pickles.load(recording.path), recording.path
        if not isinstance(data, dict):
            raise _error(path, "pickle", "a dictionary", type(data).__name__)
        joints, keypoints = _people(data, "jointPositions", path), _people(data, "poses2d", path)
        if len(joints) != len(keypoints):
            raise _error(path, "people", "as many in poses2d as in jointPositions", f"{len(keypoints)}, {len(joints)}")
        cameras_T44 = _numbers(data.get("cam_poses"), (None, 4, 4), path, "cam_poses")
        at_T = _image_numbers(data.get("img_frame_ids"), len(cameras_T44), path)
        turn_33, size = _to_y_up(cameras_T44, path), _image_size(data.get("cam_intrinsics"), path)
        for person, (joints_T72, keypoints_T3K) in enumerate(zip(joints, keypoints, strict=True)):
            joints_TK3 = _numbers(joints_T72, (len(at_T), 72), path, f"jointPositions of {person}").reshape(-1, 24, 3)
            keypoints_T3K = _numbers(keypoints_T3K, (len(at_T), 3, 18), path, f"poses2d of {person}")
            whole_TJ3, seen_TJ = to_canonical(SMPL24_TO_H36M17, joints_TK3, np.ones(joints_TK3.shape[:2]))
            turned_TJ3 = whole_TJ3 @ turn_33.T.astype(np.float32)
            for part, points_TJ3, confidence_TJ in _parts(at_T, turned_TJ3, seen_TJ):
                yield _sequence(path, f"#{person}{part}", confidence_TJ, in_3d=points_TJ3)
            pixels_TK2, score_TK = keypoints_T3K[:, :2].swapaxes(1, 2), keypoints_T3K[:, 2]
            flat_TJ2, seen_TJ = to_canonical(OPENPOSE18_TO_H36M17, pixels_TK2, score_TK)
            for part, points_TJ2, confidence_TJ in _parts(at_T, flat_TJ2, seen_TJ):
                yield _sequence(path, f"#{person}{part}/2d", confidence_TJ, in_2d=points_TJ2, size=size)


READER = ThreeDpwReader()


def _is_ours(file: File) -> bool:
    key = _FIRST_KEY.match(head(file)[:64])
    return key is not None and (key["own"] is not None or "sequenceFiles" in PurePosixPath(file.path).parts)


def _sequence(
    path: str,
    suffix: str,
    confidence_TJ: Float[np.ndarray, "T 17"],
    *,
    in_3d: Float[np.ndarray, "T 17 3"] | None = None,
    in_2d: Float[np.ndarray, "T 17 2"] | None = None,
    size: tuple[int, int] | None = None,
) -> MotionSequence:
    name, folder = PurePosixPath(path).stem, PurePosixPath(path).parent.name
    held_out = f"3dpw/{folder}" in THREEDPW.test_subjects
    return MotionSequence(
        source=THREEDPW,
        sequence_id=f"{folder}/{name}{suffix}",
        subject=f"3dpw/{folder}" if held_out else f"3dpw/{folder}/{name}#{suffix[1]}",
        fps=FPS,
        keypoints_3d_TJC=in_3d,
        keypoints_2d_TJC=in_2d,
        confidence_TJ=confidence_TJ,
        image_size=size,
        repairs=("joints of the SMPL skeleton, no head top",) if in_2d is None else (),
    )


def _parts(
    at_T: Int[np.ndarray, "T"], points_TJC: Float[np.ndarray, "T 17 C"], confidence_TJ: Float[np.ndarray, "T 17"]
) -> Iterator[tuple[str, Float[np.ndarray, "U 17 C"], Float[np.ndarray, "U 17"]]]:
    """Parts from the first to the last image with the person, split at long gaps."""
    there_M = np.flatnonzero((confidence_TJ > 0).any(axis=1))
    if there_M.size == 0:
        return
    for number, tracklet in enumerate(split_tracklets(at_T[there_M].astype(np.float64), FPS)):
        rows_M = there_M[tracklet]
        at_M = at_T[rows_M] - at_T[rows_M[0]]
        points_UJC = np.zeros((int(at_M[-1]) + 1, *points_TJC.shape[1:]), np.float32)
        confidence_UJ = np.zeros((len(points_UJC), confidence_TJ.shape[1]), np.float32)
        points_UJC[at_M], confidence_UJ[at_M] = points_TJC[rows_M], confidence_TJ[rows_M]
        yield f".{number}" if number else "", points_UJC, confidence_UJ


def _image_numbers(ids: Any, frames: int, path: str) -> Int[np.ndarray, "T"]:
    """Number the images at 30 Hz from 0 on, including lost ones."""
    ids_T = _numbers(ids, (frames,), path, "img_frame_ids")
    step_T = np.diff(ids_T)
    if frames == 0 or not ((step_T >= 1) & (step_T < 2**31)).all():
        raise _error(path, "img_frame_ids", "rising frame numbers", f"others, or none of {frames} frames")
    image_step_T = np.maximum(step_T // IDS_PER_IMAGE, 1).astype(np.int64)
    return np.concatenate([[0], np.cumsum(image_step_T)])


def _to_y_up(cameras_T44: Float[np.ndarray, "T 4 4"], path: str) -> Float[np.ndarray, "3 3"]:
    """Return the rotation of the world that makes +Y up; a camera's own y axis points down."""
    up_T3 = -cameras_T44[:, 1, :3]
    if not (np.abs(up_T3) <= 1 + 1e-3).all():
        raise _error(path, "cam_poses", "rotations of unit length", "others")
    up_3 = up_T3.mean(axis=0)
    axis = int(np.abs(up_3).argmax())
    if abs(up_3[axis]) < MIN_UPRIGHT:
        raise _error(path, "cam_poses", "cameras that are held upright", f"a mean upward direction of {up_3.round(2)}")
    return rotation_to_y_up(np.sign(up_3[axis]) * np.eye(3)[axis])


def _image_size(intrinsics: Any, path: str) -> tuple[int, int]:
    centre_2 = _numbers(intrinsics, (3, 3), path, "cam_intrinsics")[:2, 2]
    width, height = IMAGE_SIZE
    off_lying, off_upright = (np.abs(2 * centre_2 - size).max() for size in ((width, height), (height, width)))
    return (width, height) if off_lying <= off_upright else (height, width)


def _people(data: dict[Any, Any], key: str, path: str) -> list[Any]:
    people = data.get(key)
    if not isinstance(people, list | tuple) or not people:
        raise _error(path, key, "a list with an entry for each person", type(people).__name__)
    return list(people)


def _numbers(value: Any, shape: tuple[int | None, ...], path: str, where: str) -> Float[np.ndarray, "..."]:
    array = value if isinstance(value, np.ndarray) else np.empty(0, object)
    fits = len(array.shape) == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if array.dtype.kind not in "fiu" or not fits:
        expected = f"numbers {['T' if size is None else size for size in shape]}"
        found = f"{array.dtype} {list(array.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise _error(path, where, expected, found)
    return array.astype(np.float64)


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the file again from 3DPW.")
