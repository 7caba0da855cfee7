"""Human3.6M as VideoPose3D prepares it: `data_3d_h36m.npz` and `data_2d_h36m_*.npz`.

facebookresearch/VideoPose3D, DATASETS.md and data/prepare_data_h36m.py. Each file has one array of pickled objects, at
50 Hz:

- `positions_3d`, {subject: {take: [T, 32, 3]}}: metres in the room's axes, Z up. One sequence per take, Y up.
- `positions_2d`, {subject: {take: [[T, 17, 2] per camera]}}: pixels, in the order of `h36m.CAMERAS`, of one detector
  (`cpn_ft_h36m_dbb`, `detectron_pt_coco`, `sh_pt_mpii`, ...) or (`gt`) of the true joints with lens distortion; and
  `metadata`, whose left and right joints show the layout: H36M, COCO or MPII. One sequence per take and camera, with 2D
  only.

The two files are read independently: their lengths differ by some frames, and the room's axes are not those of a
camera.

Traps. The second recording of an action is called "Walking 1", the first "Walking" (or 1 and 2). There are no
confidences: 1 is assumed. Frames without a detection were filled with the frame before. S2, S3 and S4 have 2D only.
S11's "Directions" was left out, since its video is broken.

Shapes: T frames, K joints as published, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.containers.npz import Npz, keys_in, names_in, open_npz
from datasets.joints.kinematics import rotation_to_y_up
from datasets.joints.tables import COCO17_TO_H36M17, MPII16_TO_H36M17, to_canonical
from datasets.readers.mocap.h36m import CAMERAS, FPS, H36M, JOINTS_32, SAME_JOINTS, action_of
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

SOURCES = (H36M,)
LAYOUTS: dict[tuple[int, ...], Conversion] = {
    (4, 5, 6, 11, 12, 13): SAME_JOINTS,
    (1, 3, 5, 7, 9, 11, 13, 15): COCO17_TO_H36M17,
    (3, 4, 5, 13, 14, 15): MPII16_TO_H36M17,
}
"""Conversions by the left joints that `metadata` lists."""
_ORDER = [JOINTS_32[joint] for joint in H36M17.joints]
_Z_UP = np.array([0.0, 0.0, 1.0])
_SUBJECT = re.compile(r"S\d{1,2}")


class H36mVideoPoseReader:
    """Reads both archives: one sequence per take for 3D, one per take and camera for 2D."""

    name = "h36m_videopose"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim archives by their arrays, except those of HumanEva, which have the same arrays."""
        return [
            Recording(path=file.path, reader=self.name, source=H36M, size=file.size) for file in files if _is_ours(file)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the takes by subject, in the order of the file."""
        with open_npz(recording.path) as archive:
            if "positions_3d" in archive.names:
                yield from _in_the_room(archive)
            else:
                yield from _in_the_images(archive)


READER = H36mVideoPoseReader()


def _is_ours(file: File) -> bool:
    names = names_in(file)
    if "humaneva" in PurePosixPath(file.path).name.lower():
        return False
    if "positions_3d" in names:
        return True
    metadata = keys_in(file, "metadata") if {"positions_2d", "metadata"} <= names else frozenset()
    return bool(metadata) and "video_metadata" not in metadata  # those are detections of a user's own video


def _in_the_room(archive: Npz) -> Iterator[MotionSequence]:
    turn = rotation_to_y_up(_Z_UP).T.astype(np.float32)
    for subject, take, value in _takes(archive, "positions_3d"):
        joints_TK3 = _joints(value, (32, 3), archive.path, f"{subject}, {take}")
        positions_TJ3, confidence_TJ = to_canonical(SAME_JOINTS, joints_TK3[:, _ORDER], np.ones((len(joints_TK3), 17)))
        action, label = action_of(take)
        yield MotionSequence(
            source=H36M,
            sequence_id=f"{subject}/{take}",
            subject=f"h36m/{subject}",
            action=action,
            label=label,
            fps=FPS,
            keypoints_3d_TJC=positions_TJ3 @ turn,
            confidence_TJ=confidence_TJ,
        )


def _in_the_images(archive: Npz) -> Iterator[MotionSequence]:
    conversion = _layout(archive)
    detector = PurePosixPath(archive.path).stem.removeprefix("data_2d_h36m_")
    for subject, take, views in _takes(archive, "positions_2d"):
        where = f"{subject}, {take}"
        if not isinstance(views, list | tuple | np.ndarray) or len(views) > len(CAMERAS):
            raise _error(archive.path, where, f"a list for {len(CAMERAS)} cameras", type(views).__name__)
        action, label = action_of(take)
        for (number, camera), view in zip(CAMERAS.items(), views, strict=False):
            if view is None:
                continue
            joints = len(conversion.source_joints)
            pixels_TK2 = _joints(view, (joints, 2), archive.path, f"{where}, camera {number}")
            positions_TJ2, confidence_TJ = to_canonical(conversion, pixels_TK2, np.ones((len(pixels_TK2), joints)))
            yield MotionSequence(
                source=H36M,
                sequence_id=f"{detector}/{subject}/{take}/{number}",
                subject=f"h36m/{subject}",
                action=action,
                label=label,
                view=number,
                fps=FPS,
                keypoints_2d_TJC=positions_TJ2,
                confidence_TJ=confidence_TJ,
                image_size=camera.image_size,
                repairs=() if detector == "gt" else ("no confidences: 1 assumed; frames without a person filled in",),
            )


def _layout(archive: Npz) -> Conversion:
    symmetry = archive.dictionary("metadata").get("keypoints_symmetry")
    left = symmetry[0] if isinstance(symmetry, list | tuple) and symmetry else None
    key = tuple(left) if isinstance(left, list | tuple) and all(isinstance(each, int) for each in left) else ()
    if key not in LAYOUTS:
        expected = " or ".join(str(list(known)) for known in LAYOUTS)
        raise _error(archive.path, "metadata: left joints of keypoints_symmetry", expected, f"{left!r}"[:80])
    return LAYOUTS[key]


def _takes(archive: Npz, name: str) -> Iterator[tuple[str, str, Any]]:
    for subject, takes in archive.dictionary(name).items():
        if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None or not isinstance(takes, dict):
            raise _error(archive.path, name, "subjects S1 to S11 with their takes", f"{subject!r}"[:80])
        for take, value in takes.items():
            yield subject, str(take), value


def _joints(value: Any, joint: tuple[int, int], path: str, where: str) -> Float[np.ndarray, "T K C"]:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape[1:] != joint or len(value) == 0:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise _error(path, where, f"numbers [T, {joint[0]}, {joint[1]}]", found)
    return value


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    fix = "Prepare the file again with VideoPose3D's scripts."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)
