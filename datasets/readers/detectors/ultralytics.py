"""Detections of Ultralytics' pose models (YOLO) in the frames of a video: label folders and JSON.

These outputs of ultralytics/engine/results.py (``Results.save_txt``, ``summary``, ``to_json`` or ``tojson``) are read:

- `save_txt=True`: a folder `labels` with a file `VIDEO_FRAME.txt` for each frame with people, one line each: class, box
  (middle, width, height), 17 times x, y and usually confidence, then the box's confidence (`save_conf=True`), then the
  track number (tracking). All coordinates are normalised, so the image size must be in a `video.json` beside the files
  (video_json.py). All files of a video are one recording.
- JSON of all frames, as users save it: a list with one entry per frame, or JSON lines (`.jsonl`, `.ndjson`) with one
  line per frame; an entry is the list of people `{"name", "class", "confidence", "box", "track_id", "keypoints": {"x",
  "y", "visible"}}`, or the text that ``to_json`` made of it. Frames without people are empty lists.

Traps. A keypoint below confidence 0.5 is moved to 0, 0, but keeps its confidence (until 2024): it counts as not found.
A second run into the same folder appends to its files: repeated lines count once. Hand-made labels for training look
the same except that they have visibilities 0, 1, 2: a file with no other values is not claimed. Box confidence and
track number may both be missing: if there is only one number and it is an integer, it is the track. People get no
number before the tracker is sure. A list of people without frames, the output for a single image, is not claimed.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.numbered_files import claim_videos, numbered_frames
from datasets.assembly.people import Detection, Video, claim, corners, error, joined, parse_track_number, people
from datasets.assembly.video_json import companions_of
from datasets.containers.json_stream import MAX_PART, stream
from datasets.files import HEAD, head, read_bytes, url_to_fs
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float

SOURCE = Source(
    name="ultralytics",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/ultralytics/ultralytics",
)
SOURCES = (SOURCE,)
CONVERSIONS = {17: COCO17_TO_H36M17}
_LABELS = re.compile(r"^(?P<name>.*?)(?P<frame>\d{1,18})\.txt$", re.IGNORECASE)
_BOX_END = 5
_NUMBERS_A_POINT = {_BOX_END + 17 * size + extra: size for size in (2, 3) for extra in (0, 1, 2)}
"""Numbers per keypoint by the count of numbers in a line: with or without confidences, and up to two more."""
_MAX_NUMBER = 2**53
_PERSON = rb'"?\[\s*\{\s*"name"\s*:\s*"[^"]*"\s*,\s*"class"\s*:'
_LIST = re.compile(rb'\s*\[\s*(?:"?\[\s*\]"?\s*,\s*)*' + _PERSON)
_LINES = re.compile(rb'\s*(?:"?\[\s*\]"?\s*)*' + _PERSON)
_FIRST_KEYS = {"json": _LIST, "jsonl": _LINES, "ndjson": _LINES}
_KEYPOINTS = re.compile(rb'"keypoints"\s*:\s*\{\s*"x"')


class UltralyticsReader:
    """Reads label folders and JSON; each person's track is one sequence."""

    name = "ultralytics"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim label files by the columns of a video's first one, and JSON by its first keys."""
        files = list(files)
        videos = claim_videos(files, _LABELS, _is_label_file, reader=self.name, source=SOURCE)
        return [*videos, *claim(files, _is_json, reader=self.name, source=SOURCE)]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        if recording.path.lower().endswith(".txt"):
            for sequence in people(_of_labels(recording), _video(recording, _has_confidences(recording.path))):
                yield _named(sequence, _run_and_video(recording.path))
        else:
            scored = b"visible" in read_bytes(recording.path, first=HEAD)
            yield from people(_of_json(recording.path), _video(recording, scored))


READER = UltralyticsReader()


def _video(recording: Recording, scored: bool) -> Video:
    repairs = () if scored else ("no confidences: 1 assumed",)
    return Video(recording=recording, conversions=CONVERSIONS, repairs=repairs)


def _is_label_file(file: File) -> bool:
    """Tell predictions from hand-made labels: most joints are in the box, and confidences are fractions."""
    start = head(file)
    lines = start.decode("ascii", errors="replace").splitlines()[: -1 if len(start) == HEAD else None]
    rows = [_numbers(line) for line in lines if line.strip()]
    return bool(rows) and all(len(row) in _NUMBERS_A_POINT and _is_predicted(row) for row in rows)


def _is_predicted(row: list[float]) -> bool:
    points_K3 = _points(row)
    middle, size = np.array(row[1:3]), np.array(row[3:_BOX_END])
    inside_K = (np.abs(points_K3[:, :2] - middle) <= 0.6 * size).all(axis=1)
    drawn = _NUMBERS_A_POINT[len(row)] == 3 and all(value.is_integer() for value in row[7::3][:17])
    mostly_inside = bool(2 * inside_K.sum() >= (points_K3[:, 2] > 0).sum())
    return row[0].is_integer() and not drawn and mostly_inside


def _numbers(line: str) -> list[float]:
    """The numbers of a line; empty if it contains anything else."""
    try:
        values = [float(each) for each in line.split()]
    except ValueError:
        return []
    return values if all(abs(value) < _MAX_NUMBER for value in values) else []


def _points(row: list[float]) -> Float[np.ndarray, "17 3"]:
    size = _NUMBERS_A_POINT[len(row)]
    values_KC = np.array(row[_BOX_END : _BOX_END + 17 * size]).reshape(17, size)
    return _found(values_KC if size == 3 else np.column_stack([values_KC, np.ones(17)]))


def _found(values_K3: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3"]:
    """Set the confidence of keypoints at exactly 0, 0 to 0: they were not found."""
    return values_K3 * (values_K3[:, :2] != 0).any(axis=1)[:, None]


def _has_confidences(path: str) -> bool:
    rows = read_bytes(path, first=HEAD).decode("ascii", errors="replace").splitlines()
    return not rows or _NUMBERS_A_POINT.get(len(rows[0].split())) != 2


def _run_and_video(path: str) -> str:
    """Names of run and video; for a folder ``labels``, the folder above it names the run."""
    file = PurePosixPath(path)
    run = file.parent.parent if file.parent.name == "labels" else file.parent
    match = _LABELS.match(file.name)
    return f"{run.name}/{match['name'].rstrip('_') if match else file.name}"


def _named(sequence: MotionSequence, name: str) -> MotionSequence:
    part = sequence.sequence_id.rpartition("#")[2]
    return replace(sequence, sequence_id=f"{name}#{part}", subject=f"{sequence.source}/{name}")


def _of_labels(recording: Recording) -> Iterator[Detection]:
    for frame, path in numbered_frames(recording, _LABELS):
        lines = read_bytes(path).decode("ascii", errors="replace").splitlines()
        for line in dict.fromkeys(line for line in lines if line.strip()):
            row = _numbers(line)
            if len(row) not in _NUMBERS_A_POINT:
                expected = f"lines of {' or '.join(map(str, _NUMBERS_A_POINT))} numbers"
                raise error(path, "labels", expected, f"{len(row)}: {line[:60]!r}" if row else repr(line[:60]))
            x, y, width, height = row[1:_BOX_END]
            has_extra = len(row) > _BOX_END + 17 * _NUMBERS_A_POINT[len(row)]
            yield Detection(
                frame=frame,
                keypoints=_points(row),
                box=[x - width / 2, y - height / 2, width, height],
                track=parse_track_number(row[-1]) if has_extra else None,
            )


def _is_json(file: File) -> bool:
    first_keys = _FIRST_KEYS.get(file.path.lower().rpartition(".")[2])
    if first_keys is None:
        return False
    start = head(file).replace(rb"\n", b" ").replace(rb"\"", b'"')  # as it is inside the text that to_json made
    return first_keys.match(start) is not None and _KEYPOINTS.search(start) is not None


def _of_json(path: str) -> Iterator[Detection]:
    entries = (part for _, part in stream(path)) if path.lower().endswith(".json") else _lines(path)
    for frame, entry in enumerate(entries):
        where = f"entry {frame}"
        members = _parsed(entry, path, where) if isinstance(entry, str) else entry
        if not isinstance(members, list):
            raise error(path, where, "the list of a frame's people", repr(members)[:80])
        for member in members:
            yield _detection(member, frame, path)


def _lines(path: str) -> Iterator[Any]:
    filesystem, inner = url_to_fs(path)
    try:
        with filesystem.open(inner, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_PART), b"")):
                if line.strip():
                    yield _parsed(line, path, f"line {number + 1}")
    except (FileNotFoundError, PermissionError) as problem:
        raise error(path, "file", "a readable file", str(problem)) from problem


def _parsed(text: str | bytes, path: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(path, where, "a JSON document", str(problem)[:200]) from problem


def _detection(member: Any, frame: int, path: str) -> Detection:
    where = f"frame {frame}"
    found = member.get("keypoints") if isinstance(member, dict) else None
    x, y = (found.get("x"), found.get("y")) if isinstance(found, dict) else (None, None)
    if not isinstance(found, dict) or not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
        raise error(path, where, "keypoints with as many x as y", repr(member)[:80])
    box = member.get("box")
    return Detection(
        frame=frame,
        keypoints=_found(joined(list(zip(x, y, strict=True)), found.get("visible", [1] * len(x)), f"{path}: {where}")),
        box=corners([box.get(key) for key in ("x1", "y1", "x2", "y2")]) if isinstance(box, dict) else None,
        track=parse_track_number(member.get("track_id")),
    )
