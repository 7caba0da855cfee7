"""MediaPipe Pose as people save it: 33 landmarks a frame, shares of the image, in CSV or JSON.

MediaPipe itself writes no files (ai.google.dev/edge/mediapipe, pose landmarker): everybody saves the landmarks'
x, y, z and visibility in an own way. Read are

- CSV with one row per frame, whose columns are called like `x0`, `0_x`, `landmark_0_x` or `NOSE_x`, with all 33
  landmarks (from 0 or from 1), and with visibilities called `v`, `vis` or `visibility` in place of the x;
- CSV with one row per landmark: `frame`, `landmark_id` (or `landmark`, `id`), `x`, `y`, `visibility`;
- JSON, a list of frames or an object with such a list: `{"frame": 3, "landmarks": [{"x", "y", "visibility"} * 33]}`,
  the list under `landmarks`, `pose_landmarks` or `keypoints`; empty or null where nobody was found.

The frame is the column or key `frame`, `frame_id`, `frame_index` or `frame_number`, else the row. Frames stand in the
order of time: where their numbers fall, several videos are in one file. One that is there again holds another person.
Shares become pixels, which needs a `video.json` with the image's size beside the file. Landmarks outside the image are
guesses and are kept. Landmarks without visibilities have confidence 1. z, relative to the hips and not metric, is left
out.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from datasets.assembly.people import Detection, Video, claim, error, people, whole_number
from datasets.assembly.timeline import check_times
from datasets.containers.json_stream import stream
from datasets.files import head, read_bytes
from datasets.joints.tables import COCO17_TO_H36M17
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.skeletons import H36M17, Conversion

SOURCE = Source(
    name="mediapipe",
    kind="detections",
    licence_note="the video's terms",
    url="https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker",
)
SOURCES = (SOURCE,)
LANDMARKS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
MEDIAPIPE33_TO_H36M17 = Conversion(
    source_joints=tuple(
        re.sub("^(left|right)_", lambda side: side[1][0], name) for name in LANDMARKS
    ),  # left_hip is lhip, as in the tables of the other detectors
    target=H36M17,
    table=COCO17_TO_H36M17.table,
)
_FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")
_IDS = ("landmark_id", "landmark_index", "landmark_idx", "landmark", "id")
_LISTS = ("landmarks", "pose_landmarks", "keypoints")
_AXES = {"x": 0, "y": 1, "v": 2, "vis": 2, "visibility": 2}
_AXIS = "(?P<axis>visibility|vis|x|y|v)"
_COLUMN = re.compile(
    rf"(?:{_AXIS}_?|(?:(?:pose_)?landmark_?)?)(?P<mark>[a-z_]*?[a-z]|\d+)(?:_(?P<last>x|y|v|vis|visibility))?$"
)
_JSON = re.compile(rb'"(?:pose_)?landmarks"\s*:\s*(?:\[|null)')


class MediaPipeReader:
    """Reads landmarks of one person in one video."""

    name = "mediapipe"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim CSV files by their columns and JSON files by their first keys."""
        return claim(files, _is_ours, reader=self.name, source=SOURCE)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the person's tracklets."""
        found = _of_csv(recording.path) if recording.path.lower().endswith(".csv") else _of_json(recording.path)
        conversions = {33: MEDIAPIPE33_TO_H36M17}
        found = _in_order(found, recording.path)
        yield from people(found, Video(recording=recording, conversions=conversions, may_be_outside=True))


READER = MediaPipeReader()


def _is_ours(file: File) -> bool:
    if file.path.lower().endswith(".json"):
        return _JSON.search(head(file)) is not None and b'"visibility"' in head(file)
    if not file.path.lower().endswith(".csv"):
        return False
    first_line = head(file).decode("utf-8-sig", errors="replace").split("\n", 1)[0]
    names = _names(first_line.strip().split(","))
    return _wide(names) is not None or _long(names) is not None


def _names(row: Sequence[str]) -> list[str]:
    return [name.strip().strip('"').lower() for name in row]


def _wide(names: list[str]) -> dict[tuple[int, int], int] | None:
    """(landmark, axis) to column, if x and y of all 33 landmarks have one."""
    found: dict[tuple[int | str, int], int] = {}
    for column, name in enumerate(names):
        match = _COLUMN.match(name)
        axis = (match["axis"] or match["last"]) if match else None
        if match and axis:
            mark = match["mark"]
            found[int(mark) if mark.isdigit() and len(mark) < 4 else mark, _AXES[axis]] = column
    by_name = {(LANDMARKS.index(mark), axis): at for (mark, axis), at in found.items() if mark in LANDMARKS}
    first = 0 if (0, 0) in found else 1
    by_number = {(mark - first, axis): at for (mark, axis), at in found.items() if isinstance(mark, int)}
    for columns in (by_name, by_number):
        if all((mark, axis) in columns for mark in range(33) for axis in (0, 1)):
            return {key: at for key, at in columns.items() if key[0] < 33}
    return None


def _long(names: list[str]) -> dict[str, int] | None:
    frame = next((names.index(name) for name in _FRAME if name in names), None)
    mark = next((names.index(name) for name in _IDS if name in names), None)
    if frame is None or mark is None or not {"x", "y", "visibility"} <= set(names):
        return None
    return {"frame": frame, "mark": mark} | {axis: names.index(axis) for axis in ("x", "y", "visibility")}


def _in_order(found: Iterator[Detection], path: str) -> Iterator[Detection]:
    """Pass the detections on, and refuse them in the end if their frames fall."""
    frames: list[int] = []
    for each in found:
        if [each.frame] != frames[-1:]:
            frames.append(each.frame)
        yield each
    check_times(np.array(frames, np.float64), path)


def _of_csv(path: str) -> Iterator[Detection]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(path, "CSV", "text in UTF-8", str(problem)) from problem
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        names = _names(next(rows, []))
        if (wide := _wide(names)) is not None:
            frame = next((names.index(name) for name in _FRAME if name in names), None)
            yield from _of_wide(rows, wide, frame, path)
        elif (long := _long(names)) is not None:
            yield from _of_long(rows, long, path)
        else:
            raise error(path, "header", "columns of 33 landmarks", ", ".join(names)[:200])
    except csv.Error as problem:
        raise error(path, "CSV", "rows of numbers", str(problem)) from problem


def _of_wide(
    rows: Iterator[list[str]], columns: dict[tuple[int, int], int], frame: int | None, path: str
) -> Iterator[Detection]:
    for number, row in enumerate(rows):
        if not row:
            continue
        values_K3 = np.full((33, 3), np.nan)
        values_K3[:, 2] = 1
        for (mark, axis), column in columns.items():
            values_K3[mark, axis] = _number(row, column, path, number)
        at = number if frame is None else int(_whole(_number(row, frame, path, number), path, number))
        yield Detection(frame=at, keypoints=values_K3)


def _of_long(rows: Iterator[list[str]], columns: dict[str, int], path: str) -> Iterator[Detection]:
    """Landmarks of a frame stand together, and those of a person in it."""
    current, values_K3, there = None, np.zeros((33, 3)), set()
    for number, row in enumerate(rows):
        if not row:
            continue
        at = _whole(_number(row, columns["frame"], path, number), path, number)
        name = row[columns["mark"]].strip().lower() if columns["mark"] < len(row) else ""
        mark = (
            LANDMARKS.index(name)
            if name in LANDMARKS
            else int(_whole(_number(row, columns["mark"], path, number), path, number))
        )
        if not 0 <= mark < 33:
            raise error(path, f"row {number + 2}", "a landmark from 0 to 32", f"{mark}")
        if current is not None and (at != current or mark in there):
            yield Detection(frame=current, keypoints=values_K3)
        if at != current or mark in there:
            current, values_K3, there = at, np.zeros((33, 3)), set()
        there.add(mark)
        values_K3[mark] = [_number(row, columns[axis], path, number) for axis in ("x", "y", "visibility")]
    if current is not None:
        yield Detection(frame=current, keypoints=values_K3)


def _number(row: list[str], column: int, path: str, number: int) -> float:
    """The number there; an empty field was not seen."""
    text = row[column].strip() if column < len(row) else ""
    try:
        return float(text) if text else float("nan")
    except ValueError as problem:
        raise error(path, f"row {number + 2}", "numbers", repr(text)[:80]) from problem


def _whole(value: float, path: str, number: int) -> int:
    whole = whole_number(value) if np.isfinite(value) else None
    if whole is None:
        raise error(path, f"row {number + 2}", "a whole number of frame and landmark", f"{value}")
    return whole


def _of_json(path: str) -> Iterator[Detection]:
    for position, (_, frame) in enumerate(each for each in stream(path) if isinstance(each[1], dict)):
        name = next((name for name in _LISTS if name in frame), None)
        if name is None or not frame[name]:
            continue
        given = next((frame[key] for key in _FRAME if key in frame), position)
        if (number := whole_number(given)) is None:
            raise error(path, f"frame {position}", "a whole number", repr(given)[:80])
        yield Detection(frame=number, keypoints=_landmarks(frame[name], path, position))


def _landmarks(marks: Any, path: str, position: int) -> list[list[Any]]:
    if isinstance(marks, list) and len(marks) == 1 and isinstance(marks[0], list):
        marks = marks[0]  # the new interface has a list of people
    if not (isinstance(marks, list) and all(isinstance(mark, dict) and {"x", "y"} <= set(mark) for mark in marks)):
        raise error(path, f"frame {position}", "33 landmarks with x and y", repr(marks)[:80])
    return [[mark["x"], mark["y"], mark.get("visibility", 1)] for mark in marks]
