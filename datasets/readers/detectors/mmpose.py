"""MMPose's predictions: the output of its inferencer and its demos for a video or its frames, in pixels.

For a video, the inferencer's `predictions/VIDEO.json` is a list of `{"frame_id", "instances": [...]}`; the top-down
demos' `results_VIDEO.json` is an object with `meta_info` and with such a list in `instance_info`. For images, both
write one file each: the list of instances, or an object whose `instance_info` is this list; so does Sapiens for the
frames of a video. The files of a folder whose names differ in one number are the frames of one video. An instance has
`keypoints` [K, 2], `keypoint_scores` [K] and usually `bbox` (open-mmlab/mmpose 1.x: mmpose/structures/utils.py,
split_instances; demo/topdown_demo_with_mmdet.py; facebookresearch/sapiens: pose/demo). K is 17 (COCO), 26 (Halpe), or
133 (COCO-WholeBody, the first 17 are read).

Traps. ``bbox`` is left, top, right, bottom, nested in another list. Frames are numbered from 0 or from 1, sorted by
time, each once. There are no track numbers unless a ``track_id`` was added, where -1 means none. With 17 keypoints,
``meta_info`` must name COCO's joints if it names any: models for other data sets have 17 too. Keypoints with three
coordinates are 3D predictions and rejected.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from datasets.assembly.numbered_files import claim_videos, numbered_frames
from datasets.assembly.people import (
    Detection,
    Video,
    claim,
    corners,
    error,
    joined,
    parse_integer,
    parse_track_number,
    people,
)
from datasets.assembly.timeline import check_times
from datasets.assembly.video_json import companions_of
from datasets.containers.json_stream import stream
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HALPE26_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source

SOURCE = Source(
    name="mmpose",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/open-mmlab/mmpose",
)
SOURCES = (SOURCE,)
CONVERSIONS = {17: COCO17_TO_H36M17, 26: HALPE26_TO_H36M17, 133: COCO17_TO_H36M17}
_VIDEO = re.compile(rb'\s*\[\s*\{\s*"frame_id"\s*:\s*\d+\s*,\s*"instances"')
_OBJECT = re.compile(rb'\s*\{\s*"(?:meta_info"\s*:\s*\{|instance_info"\s*:\s*\[)')
_INSTANCES = re.compile(rb'\s*\[\s*\{\s*"keypoints"\s*:\s*\[\s*\[')
_FRAME_FILE = re.compile(r"^(?P<name>.*?)(?P<frame>\d{1,18})\.json$", re.IGNORECASE)


class MMPoseReader:
    """Reads MMPose's predictions of a video; each person's track is one sequence."""

    name = "mmpose"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim the numbered files of a video's frames, and files of whole videos, by their first keys."""
        files = list(files)
        videos = claim_videos(files, _FRAME_FILE, _is_frame, reader=self.name, source=SOURCE)
        taken = {path for video in videos for path in (video.path, *video.companions)}
        left = (file for file in files if file.path not in taken)
        return [*videos, *claim(left, _is_ours, reader=self.name, source=SOURCE)]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        yield from people(_detections(recording), Video(recording=recording, conversions=CONVERSIONS))


READER = MMPoseReader()


def _is_ours(file: File) -> bool:
    return file.path.lower().endswith(".json") and bool(_VIDEO.match(head(file)) or _OBJECT.match(head(file)))


def _is_frame(file: File) -> bool:
    """Tell a file of one image by its first person, who may come after more joint names than the head of a file has."""
    is_object = _OBJECT.match(head(file)) is not None
    if not (is_object or _INSTANCES.match(head(file))):
        return False
    try:
        first = next((part for key, part in stream(file.path) if key in ("", "instance_info")), None)
    except RecordingError:
        return False
    return _is_instance(first) or (is_object and first is None)


def _is_instance(part: Any) -> bool:
    return isinstance(part, dict) and {"keypoints", "keypoint_scores"} <= set(part)


def _detections(recording: Recording) -> Iterator[Detection]:
    """Yield the people of a video's frames, which are parts of one file or separate files."""
    numbers: list[int] = []
    for number_in_name, path in _files(recording):
        for number, instances in _frames(path, number_in_name):
            numbers.append(number)
            for instance in instances:
                yield _detection(instance, number, path)
    check_times(np.array(numbers, np.float64), recording.path)


def _files(recording: Recording) -> list[tuple[int, str]]:
    """The number in the name, and the path, of each file."""
    if _FRAME_FILE.match(recording.path.rpartition("/")[2]):
        return numbered_frames(recording, _FRAME_FILE)
    return [(0, recording.path)]


def _frames(path: str, number_in_name: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield number and people of each frame in a file; instances without a frame belong to the frame in its name."""
    people_here: list[Any] = []
    for key, part in stream(path):
        if key == "meta_info":
            _check_names(part, path)
        elif key in ("", "instance_info") and _is_instance(part):
            people_here.append(part)
        elif key in ("", "instance_info"):
            number = parse_integer(part.get("frame_id")) if isinstance(part, dict) else None
            instances = part.get("instances") if isinstance(part, dict) else None
            if number is None or not isinstance(instances, list):
                expected = "frame_id and a list called instances, or keypoints and keypoint_scores"
                raise error(path, key or "list", expected, repr(part)[:80])
            yield number, instances
    if people_here:
        yield number_in_name, people_here


def _check_names(meta: Any, path: str) -> None:
    """Check that 17 joints are COCO's and not those of another data set (Human3.6M, CrowdPose, AP-10K animals)."""
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
        track=parse_track_number(instance.get("track_id")),
    )
