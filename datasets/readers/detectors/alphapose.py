"""AlphaPose results: what it saw in the frames of one video, in pixels.

Read are the layouts that its versions write (docs of MVIG-SJTU/AlphaPose, output and run): the flat list of people of
the default format, the frames of ``--format cmu`` and ``--format open``, and the frames that the PoseFlow tracker
writes; with 17 (COCO), 26 or 136 (Halpe), or 133 keypoints (COCO-WholeBody, the first 17 are read). The files of
``sep-json`` beside a result are copies of it.

Traps. ``image_id`` is not zero-padded, or is a time stamp. ``idx`` is a track number only when tracking was on: both of
its trackers count from 1, and 0 stands where there was none (detector.py, pPose_nms.py). It may stand inside lists; one
of several numbers belongs to a pose that was merged of several people, and is none.
Confidences exceed 1. The 18 joints of ``cmu`` and ``open`` are those of OpenPose, but the second is the middle of the
shoulders only for a COCO model; for a Halpe model it is the head. So it is not used, and neck and head are made of
shoulders and eyes, as for COCO.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, error, people, track_number
from datasets.assembly.video_json import folder_of
from datasets.containers.json_stream import stream
from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HALPE26_TO_H36M17, OPENPOSE18_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float

SOURCE = Source(
    name="alphapose",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/MVIG-SJTU/AlphaPose",
)
SOURCES = (SOURCE,)
CONVERSIONS = {
    17: COCO17_TO_H36M17,
    18: OPENPOSE18_TO_H36M17,
    26: HALPE26_TO_H36M17,
    133: COCO17_TO_H36M17,
    136: HALPE26_TO_H36M17,
}
_COPY = re.compile(r" \(\d+\)$")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)[_:](\d\d)[_:](\d\d(?:\.\d+)?)$")
_LIST = re.compile(rb"\s*\[\s*\{")
_FRAMES = re.compile(
    rb'\s*\{\s*"[^"]*\.(?:jpg|jpeg|png|bmp)"\s*:\s*'
    rb'(?:\{\s*"version"\s*:\s*"AlphaPose|\{\s*"(?:version"[^\[{]*"bodies|bodies)"|\[\s*(?:\]|\{\s*"keypoints"))',
    re.IGNORECASE,
)


class AlphaPoseReader:
    """Reads AlphaPose result files; each person's track is one sequence."""

    name = "alphapose"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files that begin like results, told by their first bytes."""
        files = list(files)
        copies: dict[str, list[str]] = {}
        for file in files:
            folder, _, inner = folder_of(file.path).rpartition("/")
            if inner == "sep-json":
                copies.setdefault(folder, []).append(file.path)
        return [
            replace(each, companions=(*each.companions, *sorted(copies.get(folder_of(each.path), ()))))
            for each in claim(files, _is_ours, reader=self.name, source=SOURCE)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        path = recording.path
        video = partial(Video, recording=recording, conversions=CONVERSIONS)
        first = next((name for name, _ in _entries(path)), None)
        if first is None or _timestamp(first) is None:
            found = (_detection(frame_number(name, path), entry) for name, entry in _entries(path))
            yield from people(found, video())
            return
        moments = _moments(path)
        times_F = np.unique(np.array(list(moments.values())))
        found = (
            _detection(int(np.searchsorted(times_F, moments[name])), entry)
            for name, entry in _entries(path)
            if name in moments
        )
        timed = video(fps=_rate(times_F, path), times_F=times_F, repairs=("frame times taken from the image names",))
        yield from people(found, timed)


READER = AlphaPoseReader()


def _is_ours(file: File) -> bool:
    return file.path.lower().endswith(".json") and looks_like_results(head(file))


def looks_like_results(first_bytes: bytes) -> bool:
    """Tell a result by the first bytes of a JSON file."""
    is_list = _LIST.match(first_bytes) and b'"image_id"' in first_bytes and b'"keypoints"' in first_bytes
    return bool(is_list or _FRAMES.match(first_bytes))


def frame_number(image_id: Any, path: str) -> int:
    """Return the frame that an ``image_id`` names: the last number in the file's name."""
    if isinstance(image_id, int) and not isinstance(image_id, bool):
        return image_id
    name = _stem(image_id)
    numbers = re.findall(r"\d{1,20}", name)
    if not numbers or _TIMESTAMP.search(name):
        expected = "a name with the frame's number, such as 123.jpg, or all of them time stamps"
        raise error(path, "image_id", expected, repr(image_id)[:80])
    return int(numbers[-1])


def _stem(image_id: Any) -> str:
    """The name without folder, suffix and the "(1)" that file managers add to a second copy."""
    name = str(image_id).rpartition("/")[2]
    return _COPY.sub("", re.sub(r"\.[A-Za-z]\w*$", "", name))


def _timestamp(image_id: Any) -> float | None:
    match = _TIMESTAMP.search(_stem(image_id)) if isinstance(image_id, str) else None
    if match is None:
        return None
    day, hours, minutes, seconds = match.groups()
    try:
        date = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
    except ValueError:
        return None
    return date + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _moments(path: str) -> dict[str, float]:
    """When each image was taken, in seconds; the copy of an image that is there itself is left out."""
    names = dict.fromkeys(name for name, _ in _entries(path))
    moments: dict[str, float] = {}
    for name in names:
        moment = _timestamp(name)
        if moment is None:
            raise error(path, "image_id", "a time stamp, as in the first entry", repr(name)[:80])
        moments[name] = moment
    taken = {moment for name, moment in moments.items() if not _is_copy(name)}
    return {name: moment for name, moment in moments.items() if not (_is_copy(name) and moment in taken)}


def _is_copy(name: str) -> bool:
    return _COPY.search(name.rpartition(".")[0]) is not None


def _rate(times_F: Float[np.ndarray, "F"], path: str) -> float | None:
    """The usual step between two images, as a rate to a hundredth; unknown for a single image."""
    if len(times_F) < 2:
        return None
    step = float(np.median(np.diff(times_F)))
    if not 1e-3 <= step <= 2.0:
        raise error(path, "image_id", "images 1 ms to 2 s apart", f"usually {step:g} s")
    return round(1 / step, 2)


def _entries(path: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The people of a file, of whatever layout: the image's name, and keypoints, box and idx as far as given."""
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


def _person(person: Any) -> dict[str, Any] | None:
    if not isinstance(person, dict):
        return None
    names = (name for name in ("keypoints", "joints", "pose_keypoints_2d") if isinstance(person.get(name), list))
    name = next(names, None)
    return None if name is None else {**person, "keypoints": person[name]}


def _detection(frame: int, entry: dict[str, Any]) -> Detection:
    box = entry.get("box")
    return Detection(
        frame=frame,
        keypoints=entry["keypoints"],
        box=box if isinstance(box, list) else None,
        track=_track(entry.get("idx")),
    )


def _track(idx: Any) -> int | None:
    while isinstance(idx, list) and len(idx) == 1:
        idx = idx[0]
    return track_number(idx) or None
