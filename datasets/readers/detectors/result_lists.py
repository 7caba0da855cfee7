"""Lists of people detected in named images: AlphaPose's results, and COCO's, which look like them.

A result list has two meanings: the images are the frames of a video, or unrelated photographs. ``classify_images``
decides by names and poses, whatever the type of ``image_id``.

Layouts (docs of MVIG-SJTU/AlphaPose, output and run; cocodataset.org, results format): a flat list of people, the
frames of AlphaPose's ``--format cmu`` and ``--format open``, and the frames that the PoseFlow tracker writes; with 17
(COCO), 26 or 136 (Halpe), or 133 keypoints (COCO-WholeBody, the first 17 are read).

Trap: ``idx`` is a track number only if tracking was on: both of AlphaPose's trackers count from 1, and 0 means no
tracking (detector.py, pPose_nms.py). It may be nested in lists; a list of several numbers belongs to a pose that was
merged from several people, and is ignored.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from datasets.assembly.image_names import are_series, timestamp
from datasets.assembly.linking import measure_similarity
from datasets.assembly.people import Detection, error, gather, parse_track_number
from datasets.containers.json_stream import stream
from datasets.joints.tables import COCO17_TO_H36M17, HALPE26_TO_H36M17, OPENPOSE18_TO_H36M17
from datasets.sequences import File, RecordingError

CONVERSIONS = {
    17: COCO17_TO_H36M17,
    18: OPENPOSE18_TO_H36M17,
    26: HALPE26_TO_H36M17,
    133: COCO17_TO_H36M17,
    136: HALPE26_TO_H36M17,
}
_LIST = re.compile(rb"\s*\[\s*\{")
_FRAMES = re.compile(
    rb'\s*\{\s*"[^"]*\.(?:jpg|jpeg|png|bmp)"\s*:\s*'
    rb'(?:\{\s*"version"\s*:\s*"AlphaPose|\{\s*"(?:version"[^\[{]*"bodies|bodies)"|\[\s*(?:\]|\{\s*"keypoints"))',
    re.IGNORECASE,
)
_SAMPLE = 192
"""Number of people at the beginning of a file whose image names are examined."""
_FEWEST_IMAGES, _MOST_IMAGES = 8, 24
"""Number of images whose poses are compared. Fewer may be similar by chance, more take longer."""
_LIKE_A_VIDEO, _UNLIKE = 1.4, 0.5
"""Usual similarity (linking.py) from which on images are a video's frames, and below which they are not."""


def looks_like_results(first_bytes: bytes) -> bool:
    """Tell whether a JSON file begins like a result list."""
    is_list = _LIST.match(first_bytes) and b'"image_id"' in first_bytes and b'"keypoints"' in first_bytes
    return bool(is_list or _FRAMES.match(first_bytes))


def entries(path: str) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """Yield the people of a file in any of the layouts: the image's name, and the given ones of keypoints, box and idx.

    Raises:
        RecordingError: A person has no image or keypoints, or the file is incomplete.
    """
    for position, (key, part) in enumerate(stream(path)):
        is_frame = bool(key) and isinstance(part, dict) and "keypoints" not in part
        image = key or (part.get("image_id") if isinstance(part, dict) else None)
        members = part.get("bodies", part.get("people")) if is_frame else [part]
        for person in members if isinstance(members, list) else [members]:
            entry = _person(person)
            if not isinstance(image, str | int) or entry is None:
                found = f"the keys {sorted(person)}" if isinstance(person, dict) else repr(person)[:80]
                raise error(path, f"entry {position}", "image_id and a list of keypoints", found)
            yield image, entry


def detection(frame: int, entry: dict[str, Any]) -> Detection:
    """Return the detection that an entry describes."""
    box = entry.get("box")
    return Detection(
        frame=frame,
        keypoints=entry["keypoints"],
        box=box if isinstance(box, list) else None,
        track=_track(entry.get("idx")),
    )


@lru_cache(maxsize=4096)
def classify_images(file: File) -> Literal["video", "stills", "unknown"]:
    """Tell whether the images of a result are frames of one video, from its first people.

    They are not if their names differ in more than one number, or if people are not similar to those in the image
    before. They are if there are track numbers or time stamps, or if people are very similar to those in the image
    before. Otherwise it is unknown.
    """
    try:
        sample = list(islice(entries(file.path), _SAMPLE))
        names = list(dict.fromkeys(name for name, _ in sample))
        if len(names) < 2:
            return "unknown"
        if not are_series(names):
            return "stills"
        found = [detection(names.index(name), entry) for name, entry in sample]
        if timestamp(names[0]) is not None or any(each.track is not None for each in found):
            return "video"
        return _by_poses(found, names, file.path)
    except RecordingError:  # its reader will raise the same error
        return "unknown"


def _by_poses(found: list[Detection], names: list[int | str], path: str) -> Literal["video", "stills", "unknown"]:
    if len(names) < _FEWEST_IMAGES:
        return "unknown"
    first = (each for each in found if each.frame < _MOST_IMAGES)
    similarity = measure_similarity(gather(first, CONVERSIONS, path)[0])
    if similarity >= _LIKE_A_VIDEO:
        return "video"
    return "stills" if similarity < _UNLIKE else "unknown"


def _person(person: Any) -> dict[str, Any] | None:
    if not isinstance(person, dict):
        return None
    names = (name for name in ("keypoints", "joints", "pose_keypoints_2d") if isinstance(person.get(name), list))
    name = next(names, None)
    return None if name is None else {**person, "keypoints": person[name]}


def _track(idx: Any) -> int | None:
    while isinstance(idx, list) and len(idx) == 1:
        idx = idx[0]
    return parse_track_number(idx) or None
