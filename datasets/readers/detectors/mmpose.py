"""MMPose's predictions: what its inferencer and its demos write of a video, in pixels.

The inferencer's `predictions/VIDEO.json` is a list of `{"frame_id", "instances": [...]}`, the top-down demos'
`results_VIDEO.json` an object of `meta_info` and `instance_info` with such a list. An instance has `keypoints` [K, 2],
`keypoint_scores` [K] and mostly `bbox` (open-mmlab/mmpose 1.x: mmpose/structures/utils.py, split_instances;
demo/topdown_demo_with_mmdet.py). K is 17 (COCO), 26 (Halpe), or 133 (COCO-WholeBody, the first 17 are read).

Traps. ``bbox`` is left, top, right, bottom inside one more list. Frames count from 0 or from 1. Nobody has a track
number unless a ``track_id`` was added, where -1 is none. Frames stand in the order of time, each once. With 17
keypoints, ``meta_info`` must name COCO's joints if it names any: models for other data sets have 17 too. The
inferencer's files for single images are lists of instances without a frame, and are not claimed.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, corners, error, joined, people, track_number, whole_number
from datasets.assembly.timeline import check_times
from datasets.containers.json_stream import stream
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HALPE26_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source

SOURCE = Source(
    name="mmpose",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/open-mmlab/mmpose",
)
SOURCES = (SOURCE,)
CONVERSIONS = {17: COCO17_TO_H36M17, 26: HALPE26_TO_H36M17, 133: COCO17_TO_H36M17}
_LIST = re.compile(rb'\s*\[\s*\{\s*"frame_id"\s*:\s*\d+\s*,\s*"instances"')
_OBJECT = re.compile(rb'\s*\{\s*"(?:meta_info"\s*:\s*\{|instance_info"\s*:\s*\[)')


class MMPoseReader:
    """Reads MMPose's predictions of a video; each person's track is one sequence."""

    name = "mmpose"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files by their first keys."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        yield from people(_detections(recording.path), Video(recording=recording, conversions=CONVERSIONS))


READER = MMPoseReader()


def _is_ours(file: File) -> bool:
    return file.path.lower().endswith(".json") and bool(_LIST.match(head(file)) or _OBJECT.match(head(file)))


def _detections(path: str) -> Iterator[Detection]:
    numbers: list[int] = []
    for key, part in stream(path):
        if key == "meta_info":
            _check_names(part, path)
        elif key in ("", "instance_info"):
            number = whole_number(part.get("frame_id")) if isinstance(part, dict) else None
            instances = part.get("instances") if isinstance(part, dict) else None
            if number is None or not isinstance(instances, list):
                raise error(path, key or "list", "frame_id and a list called instances", repr(part)[:80])
            numbers.append(number)
            for instance in instances:
                yield _detection(instance, number, path)
    check_times(np.array(numbers, np.float64), path)


def _check_names(meta: Any, path: str) -> None:
    """Refuse the 17 joints of another data set (Human3.6M, CrowdPose, AP-10K animals) for COCO's."""
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if isinstance(names, dict) and len(names) in (17, 133):
        first = [str(names.get(str(k))) for k in (0, 5, 16)]
        if first != ["nose", "left_shoulder", "right_ankle"]:
            raise error(path, "meta_info", "the joints of COCO: nose, ... right_ankle", f"{', '.join(first)}")


def _detection(instance: Any, number: int, path: str) -> Detection:
    if not isinstance(instance, dict) or "keypoints" not in instance or "keypoint_scores" not in instance:
        raise error(path, f"frame {number}", "keypoints and keypoint_scores", repr(instance)[:80])
    return Detection(
        frame=number,
        keypoints=joined(instance["keypoints"], instance["keypoint_scores"], f"{path}: frame {number}"),
        box=corners(instance.get("bbox")),
        track=track_number(instance.get("track_id")),
    )
