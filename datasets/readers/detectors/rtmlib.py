"""rtmlib's detections (RTMPose, RTMO, RTMW, ViTPose without MMPose) in the frames of a video, as its users save them.

rtmlib writes no files. Its models return, for each frame, keypoints [people, K, 2] in pixels and scores [people, K]
(Tau-J/rtmlib, rtmlib/tools/solution), which users save. These forms are read:

- `.npz` with arrays `keypoints` and `scores`, frame by frame: object arrays (the number of people changes), [T, people,
  K, 2] padded with zeros or NaN, or [T, K, 2] for one person; `fps`, `width` and `height` are used if they are there;
- JSON, a list of frames `{"keypoints", "scores"}`, or an object with such a list under `frames`, after optional `fps`,
  `width` and `height`. The frame is the key `frame`, `frame_id`, `frame_idx`, `frame_index` or `frame_number`,
  otherwise the position in the list.

K determines the joints: 17 COCO, 25 ViTPose, 26 Halpe, 133 COCO-WholeBody (the first 17); ``to_openpose=True`` adds a
neck: 18, 27 or 134, of which the first 18 are OpenPose's. Folders in OpenPose's form that are made with rtmlib
(Pose2Sim, Sports2D) are read by ``openpose``.

Traps. There are no identities: ``PoseTracker`` does not return its numbers and the order of people changes, so they are
linked. If no person is found, RTMPose returns the whole image as a person with low scores; with RTMO such people have
no scores, and people without any score above 0 are left out. Scores exceed 1. Keypoints with three coordinates (RTMW3D)
are not pixels and are rejected; pickles, and arrays without scores, are not claimed.

Shapes: T frames, N people of a frame, K keypoints.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, error, parse_integer, people
from datasets.assembly.pixels import not_of_an_image
from datasets.assembly.timeline import MAX_FRAMES
from datasets.assembly.video_json import companions_of
from datasets.containers.json_stream import stream
from datasets.containers.npz import Npz, names_in, open_npz
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HALPE26_TO_H36M17, OPENPOSE18_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.skeletons import H36M17, Conversion

SOURCE = Source(
    name="rtmlib",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/Tau-J/rtmlib",
)
SOURCES = (SOURCE,)
VITPOSE25_JOINTS = (
    "nose", "leye", "reye", "lear", "rear", "neck", "lshoulder", "rshoulder", "lelbow", "relbow", "lwrist", "rwrist",
    "lhip", "rhip", "hip", "lknee", "rknee", "lankle", "rankle",
)  # fmt: skip
VITPOSE25_TO_H36M17 = Conversion(
    source_joints=VITPOSE25_JOINTS,
    target=H36M17,
    table={**COCO17_TO_H36M17.table, "root": "hip", "neck": "neck", "belly": {"hip": 0.5, "neck": 0.5}},
)
CONVERSIONS = {
    17: COCO17_TO_H36M17,
    18: OPENPOSE18_TO_H36M17,
    25: VITPOSE25_TO_H36M17,
    26: HALPE26_TO_H36M17,
    27: OPENPOSE18_TO_H36M17,
    133: COCO17_TO_H36M17,
    134: OPENPOSE18_TO_H36M17,
}
_FRAME_KEYS = ("frame", "frame_id", "frame_idx", "frame_index", "frame_number")
_EMPTY_OR_PEOPLE = rb'(?:(?:null|\[\s*\])\s*,\s*"scores"\s*:|\[\s*\[\s*\[)'
_CONTENT = re.compile(
    rb'\s*(?:\[|\{[^{}\[\]]*"frames"\s*:\s*\[)\s*\{[^{}]*"keypoints"\s*:\s*' + _EMPTY_OR_PEOPLE,
)


class RtmlibReader:
    """Reads saved keypoints and scores; each person's track is one sequence."""

    name = "rtmlib"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim archives by the names of their arrays, and JSON by its first keys."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        if recording.path.lower().endswith(".npz"):
            with open_npz(recording.path) as archive:
                yield from people(_of_npz(archive), _video(recording, _facts_of_npz(archive)))
        else:
            yield from people(_of_json(recording.path), _video(recording, _facts_of_json(recording.path)))


READER = RtmlibReader()


def _is_ours(file: File) -> bool:
    if file.path.lower().endswith(".json"):
        return _CONTENT.match(head(file)) is not None and b'"image_id"' not in head(file)
    return {"keypoints", "scores"} <= names_in(file) and not {"metadata", "descriptors"} & names_in(file)


def _video(recording: Recording, facts: Mapping[str, float]) -> Video:
    """The video; ``facts`` may contain the numbers fps, width and height."""
    sizes = [int(facts.get(name, 0)) for name in ("width", "height")]
    return Video(
        recording=recording,
        conversions=CONVERSIONS,
        fps=facts.get("fps"),
        image_size=(sizes[0], sizes[1]) if all(sizes) else None,
    )


def _facts_of_npz(archive: Npz) -> dict[str, float]:
    arrays = {name: archive.array(name) for name in ("fps", "width", "height") if name in archive.names}
    return _positive({name: array.item() for name, array in arrays.items() if array.size == 1})


def _facts_of_json(path: str) -> dict[str, float]:
    return _positive(dict(takewhile(lambda member: member[0] not in ("", "frames"), stream(path))))


def _positive(values: Mapping[str, Any]) -> dict[str, float]:
    given = {name: values.get(name) for name in ("fps", "width", "height")}
    return {name: float(value) for name, value in given.items() if isinstance(value, int | float) and 0 < value < 1e6}


def _of_npz(archive: Npz) -> Iterator[Detection]:
    keypoints, scores = archive.array("keypoints"), archive.array("scores")
    if keypoints.ndim == 0 or keypoints.shape[:1] != scores.shape[:1] or len(keypoints) > MAX_FRAMES:
        expected = f"the same number of frames, at most {MAX_FRAMES:,}"
        raise error(archive.path, "keypoints and scores", expected, f"{keypoints.shape} and {scores.shape}")
    for frame, (points, score) in enumerate(zip(keypoints, scores, strict=True)):
        yield from _of_frame(points, score, frame, archive.path)


def _of_json(path: str) -> Iterator[Detection]:
    frames = (part for key, part in stream(path) if key in ("", "frames"))
    for position, frame in enumerate(frames):
        if not isinstance(frame, dict) or not {"keypoints", "scores"} <= set(frame):
            raise error(path, f"entry {position}", "keypoints and scores", repr(frame)[:80])
        given = next((frame[key] for key in _FRAME_KEYS if key in frame), position)
        number = parse_integer(given)
        if number is None:
            raise error(path, f"entry {position}", "a whole number of the frame", repr(given)[:80])
        yield from _of_frame(frame["keypoints"], frame["scores"], number, path)


def _of_frame(keypoints: Any, scores: Any, frame: int, path: str) -> Iterator[Detection]:
    """Yield the people of a frame, [N, K, 2] and [N, K], or its only person, [K, 2] and [K]."""
    points_NK2, score_NK = _numbers(keypoints, frame, path), _numbers(scores, frame, path)
    if points_NK2.size == 0:
        return
    if points_NK2.ndim == 2:
        points_NK2, score_NK = points_NK2[None], score_NK[None]
    if points_NK2.ndim == 3 and points_NK2.shape[2] == 3:
        found = f"keypoints {points_NK2.shape}: three coordinates, so a 3D prediction"
        raise not_of_an_image(path, f"frame {frame}", found)
    if points_NK2.ndim != 3 or points_NK2.shape[2] != 2 or score_NK.shape != points_NK2.shape[:2]:
        found = f"{points_NK2.shape} and {score_NK.shape}"
        raise error(path, f"frame {frame}", "keypoints [people, K, 2] and scores [people, K]", found)
    for points_K2, score_K in zip(points_NK2, score_NK, strict=True):
        if (score_K > 0).any():
            yield Detection(frame=frame, keypoints=np.column_stack([points_K2, score_K]))


def _numbers(values: Any, frame: int, path: str) -> np.ndarray:
    """Return the values of a frame as an array; None gives an empty one."""
    try:
        array = np.asarray([] if values is None else values)
        if array.dtype.kind in "fiuO":
            return array.astype(np.float64)
        found = f"{array.dtype}"
    except (TypeError, ValueError, OverflowError) as problem:
        found = str(problem)[:200]
    raise error(path, f"frame {frame}", "arrays of numbers", found)
