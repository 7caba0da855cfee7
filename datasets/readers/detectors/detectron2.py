"""Detections prepared for VideoPose3D, in its two forms of `.npz`, in pixels.

facebookresearch/VideoPose3D, INFERENCE.md. `inference/infer_video_d2.py` writes one archive per video: `boxes`,
`keypoints` and `metadata`, where `keypoints[t][1]` is [people, 4, 17] (x, y, logit, probability) and `boxes[t][1]`
[people, 5] (left, top, right, bottom, score). `data/prepare_data_2d_custom.py` converts them to `data_2d_custom_*.npz`:
`positions_2d`, {video: {"custom": [[T, 17, 2]]}}, and `metadata` with each video's size.

Traps. All arrays contain pickled objects: they are read with the allow-list of ``pickles.py``. The second form only has
the best person of each frame, without confidences (1 is assumed), and frames without a person are already filled in;
prefer the first form if both exist. `data_2d_h36m_*.npz` has the same arrays, but belongs to Human3.6M and is not
claimed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, corners, error, people
from datasets.assembly.video_json import companions_of
from datasets.containers.npz import Npz, keys_in, names_in, open_npz
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source

SOURCE = Source(
    name="detectron2",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/facebookresearch/VideoPose3D",
)
SOURCES = (SOURCE,)
CONVERSIONS = {17: COCO17_TO_H36M17}


class Detectron2Reader:
    """Reads both archives; each person's track is one sequence."""

    name = "detectron2"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim archives by the names of their arrays, and the second form by its metadata."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per video and person."""
        with open_npz(recording.path) as archive:
            if "positions_2d" in archive.names:
                yield from _prepared(archive, recording)
            else:
                yield from _raw(archive, recording)


READER = Detectron2Reader()


def _is_ours(file: File) -> bool:
    names = names_in(file)
    if {"boxes", "keypoints", "metadata"} <= names:
        return {"w", "h"} <= keys_in(file, "metadata")
    return {"positions_2d", "metadata"} <= names and "video_metadata" in keys_in(file, "metadata")


def _prepared(archive: Npz, recording: Recording) -> Iterator[MotionSequence]:
    path = recording.path
    sizes = archive.dictionary("metadata").get("video_metadata")
    for name, actions in archive.dictionary("positions_2d").items():
        clips = [clip for parts in _values(actions, f"{path}: {name}") for clip in _items(parts)]
        for number, clip in enumerate(clips):
            points_TK2 = np.asarray(clip)
            if points_TK2.ndim != 3 or points_TK2.shape[1:] != (17, 2) or points_TK2.dtype.kind not in "fiu":
                raise error(path, f"video {name}", "numbers [T, 17, 2]", f"{points_TK2.dtype} {points_TK2.shape}")
            video = Video(
                recording=recording,
                conversions=CONVERSIONS,
                image_size=_size(sizes.get(name) if isinstance(sizes, dict) else None),
                repairs=("no confidences: 1 assumed; frames without a person were filled in when it was prepared",),
            )
            found = (_of_frame(frame, points_K2) for frame, points_K2 in enumerate(points_TK2))
            for sequence in people(found, video):
                index = f"/{number}" if len(clips) > 1 else ""
                extra = sequence.sequence_id.rpartition("#")[2]
                yield replace(
                    sequence,
                    sequence_id=f"{sequence.sequence_id.rpartition('#')[0]}/{name}{index}#{extra}",
                    subject=f"{sequence.subject}/{name}",
                )


def _of_frame(frame: int, points_K2: np.ndarray) -> Detection:
    return Detection(frame=frame, keypoints=np.column_stack([points_K2, np.ones(len(points_K2))]), track=None)


def _raw(archive: Npz, recording: Recording) -> Iterator[MotionSequence]:
    video = Video(recording=recording, conversions=CONVERSIONS, image_size=_size(archive.dictionary("metadata")))
    yield from people(_detections(archive), video)


def _detections(archive: Npz) -> Iterator[Detection]:
    boxes, keypoints = archive.array("boxes"), archive.array("keypoints")
    if boxes.ndim == 0 or keypoints.ndim == 0 or len(boxes) != len(keypoints):
        raise error(archive.path, "boxes", "one per frame of keypoints", f"shapes {boxes.shape} and {keypoints.shape}")
    for frame, pairs in enumerate(zip(boxes, keypoints, strict=True)):
        where = f"frame {frame}"
        if not all(_is_list(pair) and len(pair) == 2 for pair in pairs):
            raise error(
                archive.path, where, "background and people", " and ".join(type(pair).__name__ for pair in pairs)
            )
        people_boxes, poses = (np.asarray(found) for _, found in pairs)
        if poses.size == 0:
            continue
        if poses.ndim != 3 or poses.shape[1:] != (4, 17) or people_boxes.shape[:1] != poses.shape[:1]:
            raise error(archive.path, where, "keypoints [people, 4, 17], a box each", f"{poses.shape}")
        for pose_4K, box in zip(poses, people_boxes, strict=True):
            yield Detection(frame=frame, keypoints=pose_4K[[0, 1, 3]].T, box=corners(np.ravel(box).tolist()))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _values(value: Any, where: str) -> Iterable[Any]:
    if not isinstance(value, dict):
        raise error(where, "positions_2d", "{name: list of arrays}", type(value).__name__)
    return value.values()


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _size(video: Any) -> tuple[int, int] | None:
    width, height = (video.get("w"), video.get("h")) if isinstance(video, dict) else (None, None)
    numbers = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    return (int(width), int(height)) if numbers and width is not None and height is not None else None
