"""Bonn Multi-Person PoseTrack: 60 videos annotated densely, as two MATLAB files (``annolist.mat``), in pixels.

https://github.com/umariqb/PoseTrack-CVPR2017. ``annolist`` is a struct array of videos: name, num_frames, num_persons,
and annopoints, a cell of persons x frames. A cell is empty (a gap), or has head_rect and a list of points: x, y, the
joint's id in MPII's order from 0, is_visible and is_truncated. Points may be in any order and any of them may be
missing; pelvis (6) and thorax (7) always are, and MPII has no nose. A point that is not visible was still placed by an
annotator: confidence 0.5.

The frame rate is not stated (30 Hz assumed), nor is the image size. MATLAB files of version 5 to 7 (not 7.3).

Shapes: K = 16 joints of MPII, T frames of a person from the first to the last annotated one, J = 17 joints.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.containers.matlab import read_variables
from datasets.files import head
from datasets.joints.tables import FARTHEST, HIDDEN_CONFIDENCE, MPII16_JOINTS, MPII16_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source, damaged
from motion_encoder.shapes import Float

BONN_POSETRACK = Source(
    name="bonn_posetrack",
    kind="detections",
    licence_note="by Iqbal, Milan and Gall, CVPR 2017; videos of MPII Human Pose: ask before use",
    url="https://github.com/umariqb/PoseTrack-CVPR2017",
    test_subjects=frozenset({"bonn_posetrack/test"}),
)
SOURCES = (BONN_POSETRACK,)

ASSUMED_FPS = 30.0
_MATLAB = b"MATLAB 5.0 MAT-file"
_HEADER = 128
_COMPRESSED = 15
_PART = re.compile(r"(?:^|/)(train|test)/[^/]+$")


class BonnPoseTrackReader:
    """Reads ``annolist.mat`` of the Bonn PoseTrack videos; each person of each video is one sequence."""

    name = "bonn_posetrack"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim MATLAB files whose first variable is an ``annolist`` with annotated points."""
        return [
            Recording(path=file.path, reader=self.name, source=BONN_POSETRACK, size=file.size)
            for file in files
            if file.path.lower().endswith(".mat") and _is_annolist(head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per person, video by video."""
        path = recording.path
        name = "/".join(PurePosixPath(path).parts[-2:])
        part = _PART.search(path)
        for number, video in enumerate(_annolist(path)):
            title = _title(video, path, number)
            for person, cells_T in enumerate(video["annopoints"]):
                pose = _pose(cells_T, path, f"video {title}, person {person}")
                if pose is None:
                    continue
                yield MotionSequence(
                    source=recording.source,
                    sequence_id=f"{name}#{title}.{person}",
                    subject=f"{BONN_POSETRACK.name}/{part[1] if part else title}",
                    fps=ASSUMED_FPS,
                    keypoints_2d_TJC=pose[0],
                    confidence_TJ=pose[1],
                    repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",),
                )


READER = BonnPoseTrackReader()


def _is_annolist(start: bytes) -> bool:
    if not start.startswith(_MATLAB):
        return False
    data = start[_HEADER:]
    if data[:4] == struct.pack("<I", _COMPRESSED):
        try:
            data = zlib.decompressobj().decompress(data[8:], 4096)
        except zlib.error:
            return False
    return all(word in data[:4096] for word in (b"annolist", b"num_persons", b"annopoints"))


def _annolist(path: str) -> list[Any]:
    videos = read_variables(path, ["annolist"]).get("annolist", np.zeros(1))
    if not _are_structs(videos, {"name", "annopoints"}):
        raise damaged(path, "annolist", "a struct array with name and annopoints", repr(videos)[:80])
    return list(np.ravel(videos))


def _are_structs(value: Any, fields: set[str]) -> bool:
    """Whether ``value`` is a struct array with these fields, or empty."""
    return isinstance(value, np.ndarray) and (value.size == 0 or fields <= set(value.dtype.names or ()))


def _title(video: Any, path: str, number: int) -> str:
    """The video's name, such as 000448169."""
    if not (isinstance(video["annopoints"], np.ndarray) and video["annopoints"].ndim == 2):
        raise damaged(path, f"video {number}", "annopoints: persons x frames", repr(video["annopoints"])[:80])
    name = np.ravel(video["name"])
    return str(name[0]) if name.size == 1 and name.dtype.kind == "U" else str(number)


def _pose(cells_T: np.ndarray, path: str, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """One person's keypoints and confidences, from the first to the last annotated frame; None if there is none."""
    values_TK3 = np.zeros((len(cells_T), len(MPII16_JOINTS), 3), np.float32)
    for frame, cell in enumerate(cells_T):
        for joint, value_3 in _points(cell, path, f"{where}, frame {frame + 1}"):
            values_TK3[frame, joint] = value_3
    annotated = np.flatnonzero(values_TK3[..., 2].any(axis=1))
    if len(annotated) == 0:
        return None
    values_TK3 = values_TK3[annotated[0] : annotated[-1] + 1]
    return MPII16_TO_H36M17.convert(values_TK3[..., :2], values_TK3[..., 2])


def _points(cell: Any, path: str, where: str) -> Iterator[tuple[int, Float[np.ndarray, "3"]]]:
    """Yield the joint id with x, y and confidence for each point of a cell."""
    if not _are_structs(cell, {"point"}):
        raise damaged(path, where, "a struct with the field point, or nothing", repr(cell)[:80])
    for points in (row["point"] for row in cell.flat):
        if not _are_structs(points, {"x", "y", "id", "is_visible"}):
            raise damaged(path, where, "points with x, y, id and is_visible", repr(points)[:80])
        for point in points.flat:
            yield _point(point, path, where)


def _point(point: Any, path: str, where: str) -> tuple[int, Float[np.ndarray, "3"]]:
    try:
        x, y, joint = (_number(point[name]) for name in ("x", "y", "id"))
        is_visible = np.size(point["is_visible"]) > 0 and _number(point["is_visible"]) == 1
    except ValueError as error:
        raise damaged(path, where, "numbers for x, y, id and is_visible", str(point)[:120]) from error
    if joint not in range(len(MPII16_JOINTS)) or not (abs(x) <= FARTHEST and abs(y) <= FARTHEST):
        raise damaged(path, where, f"a joint id below {len(MPII16_JOINTS)} and pixels", f"id {joint:g} at {x:g}, {y:g}")
    return int(joint), np.array([x, y, 1 if is_visible else HIDDEN_CONFIDENCE], np.float32)


def _number(value: Any) -> float:
    """The first of an array of numbers."""
    first = np.ravel(value)[:1]
    if first.size == 0 or first.dtype.kind not in "biuf":
        raise ValueError("no number")
    return float(first[0])
