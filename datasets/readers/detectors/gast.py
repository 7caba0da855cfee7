"""GAST-Net's detections: one JSON file per video, by HRNet, in pixels.

`{"label", "label_index", "data": [{"frame_index", "skeleton": [{"pose": [[x, y]] * K, "score": [...], "bbox"}]}]}`, as
fabro66/GAST-Net-3DPoseEstimation writes it, with K = 17 (COCO) or 133 (COCO-WholeBody; the first 17 are read).

Traps. ``score`` is a list of numbers, or of lists with one number. ``bbox`` is left, top, right, bottom. Frames are
numbered from 1 and sorted by time; one without people may be missing and is a gap. The label names the clip and is not
one of a set of classes, so it becomes the action, without a class index.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, corners, error, joined, parse_integer, people
from datasets.assembly.timeline import check_times
from datasets.assembly.video_json import companions_of
from datasets.containers.json_stream import stream
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source

SOURCE = Source(
    name="gast",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/fabro66/GAST-Net-3DPoseEstimation",
)
SOURCES = (SOURCE,)
CONVERSIONS = {17: COCO17_TO_H36M17, 133: COCO17_TO_H36M17}
_CONTENT = re.compile(
    rb'\s*\{\s*"label"\s*:\s*"[^"]*"\s*,\s*"label_index"\s*:\s*-?\d+\s*,\s*"data"\s*:\s*\[\s*\{\s*"frame_index"'
)


class GastReader:
    """Reads GAST-Net's JSON; each person's track is one sequence."""

    name = "gast"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files by their first keys."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        label = next((part for key, part in stream(recording.path) if key == "label"), None)
        video = Video(recording=recording, conversions=CONVERSIONS)
        for sequence in people(_detections(recording.path), video):
            yield replace(sequence, action=label if isinstance(label, str) and label else None)


READER = GastReader()


def _is_ours(file: File) -> bool:
    return file.path.lower().endswith(".json") and _CONTENT.match(head(file)) is not None


def _detections(path: str) -> Iterator[Detection]:
    frames = (part for key, part in stream(path) if key == "data")
    numbers: list[int] = []
    for position, frame in enumerate(frames):
        number = parse_integer(frame.get("frame_index")) if isinstance(frame, dict) else None
        skeletons = frame.get("skeleton") if isinstance(frame, dict) else None
        if number is None or not isinstance(skeletons, list):
            raise error(path, f"data, entry {position}", "frame_index and a list called skeleton", repr(frame)[:80])
        numbers.append(number)
        for skeleton in skeletons:
            yield _detection(skeleton, number, path)
    check_times(np.array(numbers, np.float64), path)


def _detection(skeleton: Any, number: int, path: str) -> Detection:
    if not isinstance(skeleton, dict) or "pose" not in skeleton or "score" not in skeleton:
        raise error(path, f"frame {number}", "pose and score", repr(skeleton)[:80])
    return Detection(
        frame=number,
        keypoints=joined(skeleton["pose"], skeleton["score"], f"{path}: frame {number}"),
        box=corners(skeleton.get("bbox")),
    )
