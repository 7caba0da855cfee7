"""MPI-INF-3DHP: 8 people and 14 cameras, and 6 test sequences, in 3D and 2D (Mehta et al., 3DV 2017).

- Training, ``S*/Seq*/annot.mat``, MATLAB 5: cells ``annot2``, ``annot3``, ``univ_annot3`` with one matrix per camera,
  a row x1 y1 [z1] x2 ... per frame, 28 joints; ``cameras`` numbers the cells, ``frames`` the rows.
- Test, ``TS*/annot_data.mat``, MATLAB 7.3: ``annot2``, ``annot3``, ``univ_annot3`` [T, 1, 17, C], and ``valid_frame``.
  A frame that is not valid counts as not observed.

``annot3`` is used: millimetres in the camera's frame, x right, y down. Its projection is ``annot2``; ``univ_annot3`` is
the same, scaled to the height of Human3.6M's skeleton, so it matches neither the people nor their images. With the
``camera.calibration`` beside it (millimetres, Y up) it is rotated to the studio's upright axes; without that file, as
in the test set, up is the camera's. There is one sequence per camera: they differ in 2D, and agree in 3D if that file
is there.

Joint order: ``mpii_get_joint_set.m`` ("all", "relevant"); rates: ``mpii_get_sequence_info.m``, 25 Hz or 50 Hz; the rate
of the test set is not stated. Images: 2048 x 2048, TS5 and TS6 1920 x 1080. In S4/Seq2 the published rows 3759 to 5852
have left and right exchanged; they are exchanged back if the joints jump there.

Shapes: T frames, K joints as published, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from datasets.containers import hdf5, matlab
from datasets.joints.tables import FARTHEST
from datasets.readers.mocap.mpi_calibration import read_extrinsics
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17, Conversion

MPI_INF_3DHP = Source(
    name="mpi_inf_3dhp",
    kind="mocap",
    licence=(
        "research only, no commercial use, with a citation of Mehta et al. (3DV 2017; VNect, SIGGRAPH 2017); not to be "
        "passed on: license.txt of the data set"
    ),
    url="https://vcai.mpi-inf.mpg.de/3dhp-dataset",
    test_subjects=frozenset(f"mpi_inf_3dhp/TS{number}" for number in range(1, 7)),
)
SOURCES = (MPI_INF_3DHP,)
TRAIN_JOINTS = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "headtop",
    "lclavicle", "lshoulder", "lelbow", "lwrist", "lhand", "rclavicle", "rshoulder", "relbow", "rwrist", "rhand",
    "lhip", "lknee", "lankle", "lfoot", "ltoe", "rhip", "rknee", "rankle", "rfoot", "rtoe",
)  # fmt: skip
TEST_JOINTS = (
    "headtop", "neck", "rshoulder", "relbow", "rwrist", "lshoulder", "lelbow", "lwrist",
    "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "pelvis", "spine", "head",
)  # fmt: skip
_SIDES = {joint: {"l": "r", "r": "l"}[joint[0]] + joint[1:] for joint in TRAIN_JOINTS if joint[0] in "lr"}
_MIRRORED = [TRAIN_JOINTS.index(_SIDES.get(joint, joint)) for joint in TRAIN_JOINTS]
_TABLE = {
    "root": "pelvis",
    "belly": "spine",
    "neck": "neck",
    "nose": "head",
    "head": "headtop",
    **{side + part: side + part for side in "lr" for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")},
}
TRAIN_TO_H36M17 = Conversion(source_joints=TRAIN_JOINTS, target=H36M17, table=_TABLE)
TEST_TO_H36M17 = Conversion(source_joints=TEST_JOINTS, target=H36M17, table=_TABLE)
IMAGE_SIZE = (2048, 2048)
OUTDOOR_IMAGE_SIZE = (1920, 1080)
_OUTDOOR = ("TS5", "TS6")
_FAST = ("S1/Seq2", "S3/Seq1", "S3/Seq2", "S5/Seq1", "S5/Seq2")
"""Sequences at 50 Hz; the others are at 25 Hz."""
_EXCHANGED = {"S4/Seq2": (3759, 5853)}
ASSUMED_FPS = 25.0
_CALIBRATION = "camera.calibration"
_TRAIN_PATH = re.compile(r"(?:^|/)(S[1-8])/(Seq[12])/[^/]+$", re.IGNORECASE)
_TEST_PATH = re.compile(r"(?:^|/)(TS[1-6])/[^/]+$", re.IGNORECASE)


class MpiInf3dhpReader:
    """Reads ``annot.mat`` and ``annot_data.mat``."""

    name = "mpi_inf_3dhp"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim MATLAB files with the data set's variables; the folder's ``camera.calibration`` is a companion."""
        files = list(files)
        calibrations = {_folder(file.path): file.path for file in files if _name(file.path) == _CALIBRATION}
        found = []
        for file in files:
            if file.path.lower().endswith(".mat") and (_is_train(file) or _is_test(file)):
                beside = calibrations.get(_folder(file.path))
                recording = Recording(path=file.path, reader=self.name, source=MPI_INF_3DHP, size=file.size)
                found.append(replace(recording, companions=(beside,) if beside else ()))
        return found

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per camera, or the single one of a test sequence."""
        train, test = _TRAIN_PATH.search(recording.path), _TEST_PATH.search(recording.path)
        if train:
            yield from _train(recording, f"{train[1].upper()}/{train[2].capitalize()}")
        elif test:
            yield _test(recording, test[1].upper())
        else:
            raise _error(recording.path, "folder", "S1/Seq1 to S8/Seq2 or TS1 to TS6", _folder(recording.path))


READER = MpiInf3dhpReader()


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """The data of one camera."""

    camera_mm_TK3: Float[np.ndarray, "T K 3"]
    pixels_TK2: Float[np.ndarray, "T K 2"]
    valid_T: Bool[np.ndarray, "T"]
    extrinsic_44: Float[np.ndarray, "4 4"] | None


def _is_train(file: File) -> bool:
    return {"annot2", "annot3", "univ_annot3"} <= set(matlab.shapes_in(file))


def _is_test(file: File) -> bool:
    shapes = hdf5.shapes_in(file)
    return all(shapes.get(name, ())[1:] == (1, len(TEST_JOINTS), size) for name, size in (("annot2", 2), ("annot3", 3)))


def _train(recording: Recording, name: str) -> Iterator[MotionSequence]:
    path = recording.path
    values = matlab.read_variables(path, ("annot2", "annot3", "cameras", "frames"))
    pixels_V, positions_V = (_cells(values.get(part), path, part) for part in ("annot2", "annot3"))
    if len(pixels_V) != len(positions_V):
        raise _error(path, "annot2 and annot3", "the same cameras", f"{len(pixels_V)} and {len(positions_V)}")
    cameras = _cameras(values.get("cameras"), len(pixels_V), path)
    _check_frames(values.get("frames"), path)
    extrinsics = read_extrinsics(recording.companions[0]) if recording.companions else None
    for number, pixels, positions in zip(cameras, pixels_V, positions_V, strict=True):
        if extrinsics is not None and number not in extrinsics:
            raise _error(recording.companions[0], "extrinsic", f"one of camera {number}", "none")
        positions_TK3 = _rows(positions, 3, path, f"annot3 of camera {number}")
        pixels_TK2 = _rows(pixels, 2, path, f"annot2 of camera {number}")
        if len(pixels_TK2) != len(positions_TK3):
            found = f"{len(pixels_TK2)} and {len(positions_TK3)}"
            raise _error(path, f"camera {number}", "as many rows of annot2 as of annot3", found)
        view = _View(
            camera_mm_TK3=positions_TK3,
            pixels_TK2=pixels_TK2,
            valid_T=np.ones(len(positions_TK3), bool),
            extrinsic_44=extrinsics[number] if extrinsics is not None else None,
        )
        yield _sequence(
            view,
            TRAIN_TO_H36M17,
            sequence_id=f"{name}/camera{number}",
            subject=name.partition("/")[0],
            camera=str(number),
            fps=50.0 if name in _FAST else 25.0,
            image_size=IMAGE_SIZE,
            repairs=_exchange_back(view, name),
        )


def _test(recording: Recording, name: str) -> MotionSequence:
    path = recording.path
    values = hdf5.read_arrays(path, ("annot2", "annot3", "valid_frame"))
    shapes = {part: value.shape for part, value in values.items()}
    frames = shapes.get("annot3", (0,))[0]
    expected = {"annot2": (frames, 1, len(TEST_JOINTS), 2), "annot3": (frames, 1, len(TEST_JOINTS), 3)}
    if any(shapes.get(part) != shape for part, shape in expected.items()):
        raise _error(path, "variables", "annot2 and annot3 [T, 1, 17, C]", str(shapes))
    if "valid_frame" not in values or values["valid_frame"].size != frames:
        raise _error(path, "valid_frame", f"{frames} of them", str(shapes.get("valid_frame", "none")))
    view = _View(
        camera_mm_TK3=values["annot3"][:, 0].astype(np.float64),
        pixels_TK2=values["annot2"][:, 0].astype(np.float64),
        valid_T=np.asarray(values["valid_frame"].ravel() == 1),
        extrinsic_44=None,
    )
    return _sequence(
        view,
        TEST_TO_H36M17,
        sequence_id=name,
        subject=name,
        fps=ASSUMED_FPS,
        image_size=OUTDOOR_IMAGE_SIZE if name in _OUTDOOR else IMAGE_SIZE,
        repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",),
    )


def _sequence(
    view: _View,
    conversion: Conversion,
    *,
    sequence_id: str,
    subject: str,
    camera: str | None = None,
    fps: float,
    image_size: tuple[int, int],
    repairs: tuple[str, ...],
) -> MotionSequence:
    near_TK = (np.abs(view.camera_mm_TK3) < FARTHEST).all(axis=-1) & (np.abs(view.pixels_TK2) < FARTHEST).all(axis=-1)
    seen_TK = near_TK & view.valid_T[:, None]
    camera_mm_TJ3, confidence_TJ = conversion.convert(view.camera_mm_TK3, seen_TK.astype(np.float32))
    pixels_TJ2, _ = conversion.convert(view.pixels_TK2, seen_TK.astype(np.float32))
    upright_TJ3 = _upright(camera_mm_TJ3, view.extrinsic_44)
    if view.extrinsic_44 is None:
        repairs = (*repairs, f"no {_CALIBRATION} used: up is the camera's up")
    return MotionSequence(
        source=MPI_INF_3DHP,
        sequence_id=sequence_id,
        subject=f"{MPI_INF_3DHP.name}/{subject}",
        view=camera,
        fps=fps,
        keypoints_3d_TJC=(upright_TJ3 * (confidence_TJ > 0)[..., None]).astype(np.float32),
        keypoints_2d_TJC=pixels_TJ2.astype(np.float32),
        confidence_TJ=confidence_TJ,
        image_size=image_size,
        repairs=repairs,
    )


def _upright(
    camera_mm_TJ3: Float[np.ndarray, "T J 3"], extrinsic_44: Float[np.ndarray, "4 4"] | None
) -> Float[np.ndarray, "T J 3"]:
    """Positions in metres, Y up: in the studio's frame, or in the camera's frame rotated about its x axis."""
    if extrinsic_44 is None:
        return camera_mm_TJ3 * [1, -1, -1] / 1000
    return (camera_mm_TJ3 - extrinsic_44[:3, 3]) @ extrinsic_44[:3, :3] / 1000


def _exchange_back(view: _View, name: str) -> tuple[str, ...]:
    """Exchange left and right in place in the rows known to be wrong, unless the file was already corrected."""
    start, end = _EXCHANGED.get(name, (0, 0))
    points_TK3 = view.camera_mm_TK3
    if not 0 < start < end <= len(points_TK3):
        return ()
    before_K3, first_K3 = points_TK3[start - 1], points_TK3[start]
    if np.abs(first_K3[_MIRRORED] - before_K3).sum() >= np.abs(first_K3 - before_K3).sum():
        return ()
    points_TK3[start:end] = points_TK3[start:end, _MIRRORED]
    view.pixels_TK2[start:end] = view.pixels_TK2[start:end, _MIRRORED]
    return (f"left and right exchanged back in frames {start} to {end - 1}",)


def _cells(value: np.ndarray | None, path: str, where: str) -> list[object]:
    if value is None or value.dtype != object:
        raise _error(path, where, "a cell with one matrix per camera", "none" if value is None else f"{value.dtype}")
    return list(value.flat)


def _rows(value: object, size: int, path: str, where: str) -> Float[np.ndarray, "T 28 C"]:
    """A copy of the rows of one camera as positions."""
    columns = len(TRAIN_JOINTS) * size
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or value.shape[1:] != (columns,):
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise _error(path, where, f"rows of {columns} numbers", found)
    return value.astype(np.float64, order="C").reshape(len(value), len(TRAIN_JOINTS), size)


def _cameras(value: np.ndarray | None, count: int, path: str) -> list[int]:
    """The cameras' numbers; from 0 if the file does not state them."""
    numbers = np.arange(count) if value is None else value.ravel()
    if numbers.dtype.kind not in "iuf" or len(set(numbers.tolist())) != count or len(numbers) != count:
        raise _error(path, "cameras", f"{count} numbers", str(numbers)[:80])
    if not all(0 <= number < 1000 and float(number).is_integer() for number in numbers):
        raise _error(path, "cameras", "whole numbers", str(numbers)[:80])
    return [int(number) for number in numbers]


def _check_frames(value: np.ndarray | None, path: str) -> None:
    if value is None:
        return
    with np.errstate(all="ignore"):
        is_counted = value.dtype.kind in "iuf" and bool((np.diff(value.ravel().astype(np.float64)) == 1).all())
    if not is_counted:
        raise _error(path, "frames", "consecutive frame numbers", str(value.ravel())[:80])


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, and keep the published folders."
    )
