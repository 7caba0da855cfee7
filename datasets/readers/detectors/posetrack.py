"""PoseTrack18 and 21 annotations: people tracked through videos, in pixels, in COCO's layout with other joints.

https://posetrack.net and https://github.com/anDoer/PoseTrack21 (doc/dataset_structure.md). One file contains one video,
or all videos of a part (as MMPose publishes them); the image's folder distinguishes them. Only frames with
``is_labeled`` are read: about 30 in the middle of each video, and in the validation part every fourth of the others.
The frame is the number of the image in its folder, so frames without a label are gaps. Left and right ear are
placeholders. Ignore regions mark people without labels and are not read. Visibility is 0 or 1.

The frame rate is not stated (30 Hz assumed). If a track number occurs twice in a frame, only one of its poses is used.
For a part in one file, memory is needed for its poses, about 0.4 kB each (150,000 in PoseTrack18), not for its text.

Shapes: N frames of a track that are labelled, K = 17 joints as published, T frames of a track, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.image_names import frame_number
from datasets.assembly.timeline import lay_out
from datasets.files import head
from datasets.joints.tables import PAIRED_JOINTS
from datasets.readers.detectors.coco_layout import COCO_NAMES, error, joint_names, members, parse_keypoints, size_of
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

_LICENCE = "annotations: research only, see posetrack.net; videos of MPII Human Pose and others under YouTube's terms"
POSETRACK18 = Source(
    name="posetrack18",
    kind="detections",
    licence=_LICENCE,
    url="https://posetrack.net",
    test_subjects=frozenset({"posetrack18/val", "posetrack18/test"}),
)
POSETRACK21 = Source(
    name="posetrack21",
    kind="detections",
    licence=_LICENCE,
    url="https://github.com/anDoer/PoseTrack21",
    test_subjects=frozenset({"posetrack21/val", "posetrack21/test"}),
)
SOURCES = (POSETRACK18, POSETRACK21)

POSETRACK_NAMES = ("nose", "head_bottom", "head_top", *COCO_NAMES[3:])
_SIDES = {"l": "left", "r": "right"}
POSETRACK_TO_H36M17 = Conversion(
    source_joints=POSETRACK_NAMES,
    target=H36M17,
    table={
        **{joint: f"{_SIDES[joint[0]]}_{joint[1:]}" for joint in PAIRED_JOINTS},
        "root": {"left_hip": 0.5, "right_hip": 0.5},
        "belly": {"left_hip": 0.25, "right_hip": 0.25, "head_bottom": 0.5},
        "neck": "head_bottom",
        "nose": "nose",
        "head": "head_top",
    },
)
ASSUMED_FPS = 30.0
MAX_FRAMES = 10_000
"""Most frames between the first and the last pose of a track; the longest videos have about 300."""
_PART = re.compile(r"(?:^|[/_])(train|val|test)(?:/|\.json$)")


@dataclass(frozen=True, kw_only=True)
class LabelledFrame:
    """An image whose people are labelled."""

    video: str
    part: str
    """train, val or test, from the image's folder; empty if it is none of these."""
    frame: int
    size: tuple[int, int] | None


class PoseTrackReader:
    """Reads PoseTrack18 and 21 annotation files; each track of each video is one sequence."""

    name = "posetrack"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files that declare PoseTrack's joints by name."""
        return [
            Recording(path=file.path, reader=self.name, source=_source(file), size=file.size)
            for file in files
            if joint_names(file) == POSETRACK_NAMES
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per track, in the order in which they appear."""
        path = recording.path
        frames = _labelled_frames(path)
        tracks, repeated = _tracks(path, frames)
        name = "/".join(PurePosixPath(path).parts[-2:])
        while tracks:
            (video, track), poses = next(iter(tracks.items()))
            del tracks[video, track]
            keypoints_TJ2, confidence_TJ = _over_time(poses, path)
            first = next(iter(poses.values()))[0]
            repairs = (f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",)
            if count := repeated.get((video, track)):
                repairs += (f"{count} poses left out: the track number stands twice in their frames",)
            yield MotionSequence(
                source=recording.source,
                sequence_id=f"{name}#{video}.{track}",
                subject=f"{recording.source}/{first.part or video}",
                fps=ASSUMED_FPS,
                keypoints_2d_TJC=keypoints_TJ2,
                confidence_TJ=confidence_TJ,
                image_size=first.size,
                repairs=repairs,
            )


READER = PoseTrackReader()

Poses = dict[int, tuple[LabelledFrame, Float[np.ndarray, "17 3"]]]
"""The poses of a track: image and joints (x, y, visibility) by frame."""


def _labelled_frames(path: str) -> dict[int | str, LabelledFrame]:
    frames: dict[int | str, LabelledFrame] = {}
    for position, image in enumerate(members(path, "images")):
        where = f"image {position}"
        if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
            raise error(path, where, "an object with an id", repr(image)[:80])
        if not image.get("is_labeled", True):
            continue
        file = image.get("file_name")
        if not isinstance(file, str):
            raise error(path, where, "a file_name such as images/val/000342_mpii_test/000012.jpg", repr(file)[:80])
        folder = str(PurePosixPath(file).parent)
        part = _PART.search(f"{folder}/") or _PART.search(path)
        frames[image["id"]] = LabelledFrame(
            video=PurePosixPath(folder).name or str(image.get("vid_id")),
            part=part[1] if part else "",
            frame=frame_number(file, path),
            size=size_of(image),
        )
    return frames


def _tracks(
    path: str, frames: dict[int | str, LabelledFrame]
) -> tuple[dict[tuple[str, int], Poses], dict[tuple[str, int], int]]:
    """Poses by (video, track), and how often a track number occurs twice in a frame."""
    tracks: dict[tuple[str, int], Poses] = {}
    repeated: dict[tuple[str, int], int] = {}
    for position, person in enumerate(members(path, "annotations")):
        where = f"annotation {position}"
        if not isinstance(person, dict) or not isinstance(person.get("image_id"), int | str):
            raise error(path, where, "an object with an image_id", repr(person)[:80])
        image = frames.get(person["image_id"])
        if image is None or not person.get("keypoints"):  # in a frame that is not labelled, or only a box
            continue
        values_K3 = parse_keypoints(person["keypoints"], path=path, where=where)
        if not values_K3[:, 2].any():
            continue
        track = _track_number(person, path, where)
        poses = tracks.setdefault((image.video, track), {})
        if image.frame in poses:
            repeated[image.video, track] = repeated.get((image.video, track), 0) + 1
        else:
            poses[image.frame] = (image, values_K3)
    return tracks, repeated


def _track_number(person: dict[str, Any], path: str, where: str) -> int:
    number = person.get("track_id")
    if not isinstance(number, int):
        raise error(path, where, "a whole-number track_id", repr(number)[:80])
    return number


def _over_time(poses: Poses, path: str) -> tuple[Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Lay a track's poses out over time; frames between them without a pose get confidence 0."""
    frame_N = np.array(sorted(poses))
    if frame_N[-1] - frame_N[0] >= MAX_FRAMES:
        expected = f"frame numbers at most {MAX_FRAMES:,} apart"
        raise error(path, "file_name", expected, f"{frame_N[0]} to {frame_N[-1]}")
    values_NK3 = np.stack([poses[frame][1] for frame in frame_N.tolist()])
    keypoints_NJ2, confidence_NJ = POSETRACK_TO_H36M17.convert(values_NK3[..., :2], np.clip(values_NK3[..., 2], 0, 1))
    return lay_out(frame_N.astype(np.float64), keypoints_NJ2, confidence_NJ)


def _source(file: File) -> Source:
    """The source: only PoseTrack21 states whether a frame has people with boxes only; the paths are often the same."""
    is_21 = re.search(r"posetrack_?(?:20)?21", file.path, re.IGNORECASE) or b'"has_labeled_person"' in head(file)
    return POSETRACK21 if is_21 else POSETRACK18
