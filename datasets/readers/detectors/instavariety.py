"""InstaVariety tracks: people found by OpenPose in Instagram videos and linked over time, in pixels.

https://github.com/akanazawa/human_dynamics (doc/insta_variety.md), the archive ``InstaVariety_tracks``:
``TAG/VIDEO/TRACK/*.json``, one file per frame, with ``frame`` (from 0; ``imloc``, the image's name, counts from 1),
``track_id`` (not unique, since tracks are cut at shots, so the folder identifies the track) and, by joint name, one
object with x, y and logits. The joints are OpenPose's 25, with the middle of the hips and a neck, but without head top
and belly; these two are absent (the published preparation wrote zeros for them). ``logits`` is the confidence, clipped
to 0 to 1.

Frames without a file are gaps; the published preparation removed them. The frame rate is not stated (30 Hz assumed),
nor is the image size. The TFRecords made from these tracks, and the arrays that MotionBERT prepared
(``motion_all.npy``), are not read: their coordinates are relative to crops.

Shapes: N frames with a file, K = 15 joints, T frames, J = 17 joints.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.timeline import lay_out
from datasets.files import head, read_bytes
from datasets.joints.tables import FARTHEST
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

INSTAVARIETY = Source(
    name="instavariety",
    kind="detections",
    licence_note="the videos belong to their Instagram users: ask before use",
    url="https://github.com/akanazawa/human_dynamics/blob/master/doc/insta_variety.md",
)
SOURCES = (INSTAVARIETY,)

INSTA_JOINTS = (
    "Hip", "R Hip", "R Knee", "R Ankle", "L Hip", "L Knee", "L Ankle", "Neck", "Nose",
    "L Shoulder", "L Elbow", "L Wrist", "R Shoulder", "R Elbow", "R Wrist",
)  # fmt: skip
_SAME = {
    side + part: f"{side.upper()} {part.capitalize()}"
    for side in "lr"
    for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
}
INSTA_TO_H36M17 = Conversion(
    source_joints=INSTA_JOINTS, target=H36M17, table={**_SAME, "root": "Hip", "neck": "Neck", "nose": "Nose"}
)
ASSUMED_FPS = 30.0
MAX_FRAMES = 100_000
"""Most frames between the first and the last one of a track; Instagram's videos had at most a minute."""


class InstaVarietyReader:
    """Reads folders of InstaVariety tracks; each folder is one recording and one sequence."""

    name = "instavariety"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim folders of JSON files whose first file is a frame of a track; only that one is opened."""
        folders: dict[str, list[File]] = {}
        for file in files:
            if file.path.lower().endswith(".json"):
                folders.setdefault(file.path.rpartition("/")[0], []).append(file)
        return [self._recording(frames) for frames in folders.values() if _is_frame(head(frames[0]))]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a track."""
        tag, video, track = _names(recording.path)
        frame_N, values_NK3 = _frames((recording.path, *recording.companions))
        keypoints_NJ2, confidence_NJ = INSTA_TO_H36M17.convert(values_NK3[..., :2], values_NK3[..., 2])
        keypoints_TJ2, confidence_TJ = lay_out(frame_N, keypoints_NJ2, confidence_NJ)
        yield MotionSequence(
            source=recording.source,
            sequence_id=f"{tag}/{video}/{track}",
            subject=f"{INSTAVARIETY.name}/{tag}/{video}",
            action=tag or None,
            fps=ASSUMED_FPS,
            keypoints_2d_TJC=keypoints_TJ2,
            confidence_TJ=confidence_TJ,
            repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",),
        )

    def _recording(self, frames: Sequence[File]) -> Recording:
        first, *others = sorted(frames, key=lambda file: file.path)
        return Recording(
            path=first.path,
            reader=self.name,
            source=INSTAVARIETY,
            companions=tuple(file.path for file in others),
            size=sum(file.size for file in frames),
        )


READER = InstaVarietyReader()


def _is_frame(start: bytes) -> bool:
    return start.lstrip()[:1] == b"{" and all(word in start for word in (b'"frame"', b'"imloc"', b'"logits"'))


def _names(path: str) -> tuple[str, str, str]:
    """Tag, video and track, from the folders of a path."""
    parts = ("", "", *PurePosixPath(path).parts)
    return parts[-4], parts[-3], parts[-2]


def _frames(paths: Sequence[str]) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N 15 3"]]:
    """Ascending frame numbers, with the joints' x, y and confidence."""
    by_frame: dict[int, np.ndarray] = {}
    for path in paths:
        content = _content(path)
        frame = content.get("frame")
        if not isinstance(frame, int):
            raise _error(path, "frame", "a whole number", repr(frame)[:80])
        if frame in by_frame:
            raise _error(path, "frame", "each number once in a track", f"{frame} for the second time")
        by_frame[frame] = np.array([_joint(content.get(joint), path, joint) for joint in INSTA_JOINTS], np.float32)
    numbers = sorted(by_frame)
    if numbers[-1] - numbers[0] >= MAX_FRAMES:
        raise _error(paths[0], "frame", f"numbers at most {MAX_FRAMES:,} apart", f"{numbers[0]} to {numbers[-1]}")
    relative_N = np.array([number - numbers[0] for number in numbers], np.float64)
    return relative_N, np.stack([by_frame[number] for number in numbers])


def _content(path: str) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise _error(path, "JSON", "a complete object", str(error)[:200]) from error
    if not isinstance(content, dict):
        raise _error(path, "JSON", "an object", repr(content)[:80])
    return content


def _joint(joint: Any, path: str, name: str) -> tuple[float, float, float]:
    """x, y and confidence; a joint that was not found, or is missing, has confidence 0."""
    if joint is None:
        return 0.0, 0.0, 0.0
    values: list[Any] = [joint.get(key) for key in ("x", "y", "logits")] if isinstance(joint, dict) else [None]
    if not all(isinstance(value, int | float) and abs(value) <= FARTHEST for value in values):
        raise _error(path, name, "x and y in pixels and logits", repr(joint)[:120])
    x, y, logits = map(float, values)
    return x, y, min(max(logits, 0.0), 1.0)


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Unpack the archive again.")
