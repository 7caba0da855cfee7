"""OpenPose results: a folder with one JSON file per frame, `NAME_000000000123_keypoints.json`.

One recording is all frames of one folder with one NAME (docs/02_output.md of CMU-Perceptual-Computing-Lab/openpose).
BODY_25 and COCO (18 keypoints) are distinguished by their number of keypoints; face and hands are ignored. Frames that
AlphaPose wrote in the same form (its ``sep-json`` folders) are read too, and those of Pose2Sim and Sports2D, which
write rtmlib's 17 (COCO), 26 (Halpe) or 133 (COCO-WholeBody) keypoints in this form.

Traps. There are no identities, and the order of people changes from frame to frame: they are linked over time, unless
``person_id`` is not -1. A keypoint 0, 0, 0 was not found. The frame is the number in the name; a missing file is a gap.
Coordinates may be normalised (``--keypoint_scale 3``): then the image size must be known.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from datasets.assembly.numbered_files import claim_videos, numbered_frames
from datasets.assembly.people import Detection, Video, error, parse_track_number, people
from datasets.assembly.pixels import not_of_an_image
from datasets.assembly.video_json import companions_of
from datasets.containers.json_stream import stream
from datasets.files import head
from datasets.joints.tables import BODY25_TO_H36M17, COCO17_TO_H36M17, HALPE26_TO_H36M17, OPENPOSE18_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source

SOURCE = Source(
    name="openpose",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/CMU-Perceptual-Computing-Lab/openpose",
)
SOURCES = (SOURCE,)
CONVERSIONS = {
    25: BODY25_TO_H36M17,
    18: OPENPOSE18_TO_H36M17,
    17: COCO17_TO_H36M17,
    26: HALPE26_TO_H36M17,
    133: COCO17_TO_H36M17,
}
_FRAME = re.compile(r"^(?P<name>.*?)(?P<frame>\d{1,18})(?P<end>_keypoints|_pose)?\.json$", re.IGNORECASE)
_CONTENT = re.compile(rb'\s*\{\s*(?:"version"\s*:\s*[^,\[{]*,\s*)?"(?:people|bodies)"\s*:\s*\[')


class OpenPoseReader:
    """Reads folders of per-frame files; each person's track is one sequence."""

    name = "openpose"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim the frames of each video: by their names, and by the first bytes of the first of them."""
        return claim_videos(
            files, _FRAME, lambda file: _CONTENT.match(head(file)) is not None, reader=self.name, source=SOURCE
        )

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        found = (each for frame, path in numbered_frames(recording, _FRAME) for each in _detections(frame, path))
        yield from people(found, Video(recording=recording, conversions=CONVERSIONS))


READER = OpenPoseReader()


def _detections(frame: int, path: str) -> Iterator[Detection]:
    for key, person in stream(path):
        if key in ("people", "bodies"):
            yield Detection(frame=frame, keypoints=_keypoints(person, path), track=_identity(person))


def _keypoints(person: Any, path: str) -> list[Any]:
    names = ("pose_keypoints_2d", "pose_keypoints", "joints")
    for name in names:
        if isinstance(person, dict) and isinstance(person.get(name), list):
            if not person[name] and person.get("pose_keypoints_3d"):
                raise not_of_an_image(path, "people", "only pose_keypoints_3d, a 3D reconstruction")
            return person[name]
    found = f"the keys {sorted(person)}" if isinstance(person, dict) else repr(person)[:80]
    raise error(path, "people", f"lists called {' or '.join(names)}", found)


def _identity(person: dict[str, Any]) -> int | None:
    """The first number of ``person_id``; -1 means that there is none."""
    given = person.get("person_id")
    return parse_track_number(given[0]) if isinstance(given, list) and given else None
