"""MediaPipe Pose as users save it: 33 landmarks per frame in normalised image coordinates, in CSV or JSON.

MediaPipe itself writes no files (ai.google.dev/edge/mediapipe, pose landmarker): users save the landmarks' x, y, z and
visibility in various ways. These are read (mediapipe_files.py):

- CSV with one row per frame, with columns named like `x0`, `0_x`, `landmark_0_x` or `NOSE_x` for all 33 landmarks (from
  0 or from 1), and visibilities with `v`, `vis` or `visibility` instead of the x;
- CSV with one row per landmark: `frame` or a time, `landmark_id` (or `landmark`, `id`), `x`, `y`, `visibility`;
- JSON, a list of frames or an object with such a list: `{"frame": 3, "landmarks": [{"x", "y", "visibility"} * 33]}`,
  the list under `landmarks`, `pose_landmarks` or `keypoints`; empty or null if no person was found.

The frame is the column or key `frame`, `frame_id`, `frame_index`, `frame_number` or `frame_idx`, otherwise the row.
Frames must be sorted by time: decreasing numbers mean several videos in one file. A repeated frame is another person. A
column or key `timestamp` or `time` (also with a unit: `time_ms`, `timestamp (s)`) determines the rate (time_stamps.py),
and the frames if there are no frame numbers; columns or keys `fps`, `width` and `height` are used too.

Normalised coordinates are converted to pixels with the image's size, usually from a `video.json` beside the file
(video_json.py). Landmarks outside the image are extrapolated and kept. Landmarks without visibilities have confidence
1. z, relative to the hips and not metric, is ignored. World landmarks, and others relative to the hips, are not image
coordinates and are rejected.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np

from datasets.assembly.people import Detection, Video, claim, people
from datasets.assembly.time_stamps import Clock, read_clock
from datasets.assembly.timeline import check_times
from datasets.assembly.video_json import companions_of
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.readers.detectors.mediapipe_files import (
    LANDMARKS,
    Pose,
    Stamp,
    csv_facts,
    csv_poses,
    csv_stamp,
    is_landmark_header,
    json_facts,
    json_poses,
    json_stamp,
)
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.skeletons import H36M17, Conversion

SOURCE = Source(
    name="mediapipe",
    kind="detections",
    licence_note="the video's terms",
    url="https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker",
)
SOURCES = (SOURCE,)
MEDIAPIPE33_TO_H36M17 = Conversion(
    source_joints=tuple(
        re.sub("^(left|right)_", lambda side: side[1][0], name) for name in LANDMARKS
    ),  # left_hip is lhip, as in the tables of the other detectors
    target=H36M17,
    table=COCO17_TO_H36M17.table,
)
_JSON = re.compile(rb'"(?:pose_)?(?:world_)?landmarks"\s*:\s*(?:\[|null)')


class MediaPipeReader:
    """Reads landmarks of one person in one video."""

    name = "mediapipe"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim CSV files by their columns and JSON files by their first keys."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        path = recording.path
        is_csv = path.lower().endswith(".csv")
        facts = csv_facts(path) if is_csv else json_facts(path)
        stamp = csv_stamp(path) if is_csv else json_stamp(path)
        clock = None if stamp is None else _clock(path, stamp)
        sizes = [int(facts.get(name, 0)) for name in ("width", "height")]
        video = Video(
            recording=recording,
            conversions={33: MEDIAPIPE33_TO_H36M17},
            fps=facts.get("fps"),
            image_size=(sizes[0], sizes[1]) if all(sizes) else None,
            may_be_outside=True,
        )
        yield from people(_detections(path, clock), video if stamp is None else _timed(video, stamp, clock))


READER = MediaPipeReader()


def _is_ours(file: File) -> bool:
    if file.path.lower().endswith(".json"):
        return _JSON.search(head(file)) is not None and b'"visibility"' in head(file)
    if not file.path.lower().endswith(".csv"):
        return False
    return is_landmark_header(head(file).decode("utf-8-sig", errors="replace").split("\n", 1)[0])


def _images(path: str) -> Iterator[list[Pose]]:
    """Yield the poses of a file, image by image."""
    poses = csv_poses(path) if path.lower().endswith(".csv") else json_poses(path)
    return (list(group) for _, group in groupby(poses, _image))


def _image(pose: Pose) -> tuple[str, int | float]:
    """A key that the poses of one image share."""
    if pose.frame is not None:
        return "frame", pose.frame
    return ("time", pose.stamp) if np.isfinite(pose.stamp) else ("row", pose.position)


def _clock(path: str, stamp: Stamp) -> Clock | None:
    """Return the clock of the time stamps; the file's own frame numbers take precedence over the clock's."""
    first = [image[0] for image in _images(path)]
    clock = read_clock(np.array([pose.stamp for pose in first]), stamp.unit)
    frames = [pose.frame for pose in first if pose.frame is not None]
    if clock is None or not frames:
        return clock
    return replace(clock, fps=round((frames[-1] - frames[0]) / float(clock.seconds_F[-1]), 2), frame_F=np.array(frames))


def _detections(path: str, clock: Clock | None) -> Iterator[Detection]:
    """Number the images; raise an error at the end if the numbers decrease."""
    frames: list[int] = []
    for index, image in enumerate(_images(path)):
        frames.append(_number(image[0], index, clock))
        for pose in image:
            yield Detection(frame=frames[-1], keypoints=pose.landmarks)
    check_times(np.array(frames, np.float64), path)


def _number(pose: Pose, index: int, clock: Clock | None) -> int:
    if clock is None:
        return pose.position if pose.frame is None else pose.frame
    return index if clock.frame_F is None else int(clock.frame_F[index])


def _timed(video: Video, stamp: Stamp, clock: Clock | None) -> Video:
    if clock is None or clock.fps <= 0:
        said = f"{stamp.name} not used: it does not grow from frame to frame, or its unit is not known"
        return replace(video, repairs=(said,))
    return replace(
        video,
        fps=video.fps or clock.fps,
        times_F=clock.seconds_F if clock.frame_F is None else None,
        repairs=(f"frame times taken from {stamp.name}, in {clock.unit}",),
    )
