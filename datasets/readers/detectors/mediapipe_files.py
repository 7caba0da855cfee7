"""Parse CSV and JSON files of MediaPipe's landmarks: poses in order, with the frame and time that they state.

Columns and keys are those that public scripts use; upper or lower case and blanks around them do not matter.

Shapes: K = 33 landmarks.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.assembly.people import error, parse_integer
from datasets.assembly.pixels import not_of_an_image
from datasets.containers.json_stream import stream
from datasets.files import read_bytes

LANDMARKS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
_FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")
_IDS = ("landmark_id", "landmark_index", "landmark_idx", "landmark", "id")
_LISTS = ("landmarks", "pose_landmarks", "keypoints")
_WORLD_LISTS = ("world_landmarks", "pose_world_landmarks")
_FACTS = ("fps", "width", "height")
_FIRST_ROWS = 1 << 16
"""Bytes from the beginning of a file that contain at least two rows of all landmarks."""
_TIME = re.compile(
    r"(?:(?:frame|video)_)?(?:time_?stamp|time|t)"
    r"(?:[_ ]?[\[(]?(?P<unit>s|secs?|seconds|ms|msecs?|milliseconds|us|ns)[\])]?)?"
)
_UNITS = {"se": "s", "s": "s", "ms": "ms", "mi": "ms", "us": "us", "ns": "ns"}
"""Units by their first two letters."""
_AXES = {"x": 0, "y": 1, "v": 2, "vis": 2, "visibility": 2}
_AXIS = "(?P<axis>visibility|vis|x|y|v)"
_COLUMN = re.compile(
    rf"(?:{_AXIS}_?|(?:(?:pose_)?landmark_?)?)(?P<mark>[a-z_]*?[a-z]|\d+)(?:_(?P<last>x|y|v|vis|visibility))?$"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """The landmarks of one person in one image."""

    position: int
    """Number of the pose's row or entry in the file."""
    frame: int | None
    """Frame number; None if the file states none."""
    stamp: float
    """Time as the file states it; NaN if it states none."""
    landmarks: Any
    """33 x 3: x, y, visibility."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """The column or key with times, and their unit: one of ``time_stamps.UNITS_S``, or None if the name has none."""

    name: str
    unit: str | None


def is_landmark_header(first_line: str) -> bool:
    """Tell by its first line whether a CSV file contains landmarks."""
    names = _names(first_line.strip().split(","))
    return _wide(names) is not None or _long(names) is not None


def csv_stamp(path: str) -> Stamp | None:
    """Return the column of a CSV file that states times, if there is one."""
    return _stamp(_first_rows(path)[0])


def json_stamp(path: str) -> Stamp | None:
    """Return the key of a JSON file's first frame that states times, if there is one."""
    frames = (part for _, part in stream(path) if isinstance(part, dict) and any(name in part for name in _LISTS))
    return _stamp(list(next(frames, {})))


def csv_facts(path: str) -> dict[str, float]:
    """Return those of fps, width and height for which a CSV file has columns."""
    names, first = _first_rows(path)
    return _positive({name: first[names.index(name)] for name in _FACTS if name in names[: len(first)]})


def json_facts(path: str) -> dict[str, float]:
    """Return those of fps, width and height that a JSON object states before its list of frames."""
    facts: dict[str, Any] = {}
    for key, part in stream(path):
        if key == "" or (isinstance(part, dict) and any(name in part for name in _LISTS)):
            break
        facts |= part if isinstance(part, dict) else {key: part}
    return _positive({name: facts.get(name) for name in _FACTS})


def csv_poses(path: str) -> Iterator[Pose]:
    """Yield the poses of a CSV file.

    Raises:
        RecordingError: Its columns or values are not those of landmarks.
    """
    rows = _rows(path)
    try:
        names = _names(next(rows, []))
        frame = next((names.index(name) for name in _FRAME if name in names), None)
        stamp = _stamp(names)
        time = names.index(stamp.name) if stamp else None
        if (wide := _wide(names)) is not None:
            yield from _of_wide(rows, wide, frame, time, path)
        elif (long := _long(names)) is not None:
            yield from _of_long(rows, long, frame, time, path)
        else:
            raise error(path, "header", "columns of 33 landmarks", ", ".join(names)[:200])
    except csv.Error as problem:
        raise error(path, "CSV", "rows of numbers", str(problem)) from problem


def json_poses(path: str) -> Iterator[Pose]:
    """Yield the poses of a JSON file.

    Raises:
        RecordingError: Its frames are not those of landmarks, or it contains only world landmarks.
    """
    stamp = json_stamp(path)
    for position, (_, frame) in enumerate(each for each in stream(path) if isinstance(each[1], dict)):
        name = next((name for name in _LISTS if name in frame), None)
        if name is None and any(frame.get(world) for world in _WORLD_LISTS):
            raise not_of_an_image(path, f"frame {position}", "world landmarks: metres from the middle of the hips")
        if name is None or not frame[name]:
            continue
        given = next((frame[key] for key in _FRAME if key in frame), None)
        number = None if given is None else parse_integer(given)
        if given is not None and number is None:
            raise error(path, f"frame {position}", "a whole number", repr(given)[:80])
        time = _float(frame.get(stamp.name)) if stamp else np.nan
        landmarks = _landmarks(frame[name], path, position)
        yield Pose(position=position, frame=number, stamp=time, landmarks=landmarks)


def _names(row: Sequence[str]) -> list[str]:
    return [name.strip().strip('"').lower() for name in row]


def _stamp(names: Sequence[str]) -> Stamp | None:
    for name in names:
        if match := _TIME.fullmatch(name.lower()):
            return Stamp(name=name, unit=_UNITS[match["unit"][:2]] if match["unit"] else None)
    return None


def _wide(names: list[str]) -> dict[tuple[int, int], int] | None:
    """Columns by (landmark, axis), if x and y of all 33 landmarks have one."""
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
    """Columns of a file with one row per landmark; the frame may be given by its time only."""
    mark = next((names.index(name) for name in _IDS if name in names), None)
    has_image = any(name in names for name in _FRAME) or _stamp(names) is not None
    if mark is None or not has_image or not {"x", "y", "visibility"} <= set(names):
        return None
    return {"mark": mark} | {axis: names.index(axis) for axis in ("x", "y", "visibility")}


def _rows(path: str) -> Iterator[list[str]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(path, "CSV", "text in UTF-8", str(problem)) from problem
    return csv.reader(io.StringIO(text, newline=""))


def _first_rows(path: str) -> tuple[list[str], list[str]]:
    """The names of the columns, and the row below them."""
    text = read_bytes(path, first=_FIRST_ROWS).decode("utf-8-sig", errors="ignore")
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        return _names(next(rows, [])), next(rows, [])
    except csv.Error as problem:
        raise error(path, "CSV", "rows of numbers", str(problem)) from problem


def _of_wide(
    rows: Iterator[list[str]], columns: Mapping[tuple[int, int], int], frame: int | None, time: int | None, path: str
) -> Iterator[Pose]:
    for number, row in enumerate(rows):
        if not row:
            continue
        values_K3 = np.full((33, 3), np.nan)
        values_K3[:, 2] = 1
        for (mark, axis), column in columns.items():
            values_K3[mark, axis] = _number(row, column, path, number)
        yield Pose(position=number, frame=_frame(row, frame, path, number), stamp=_time(row, time), landmarks=values_K3)


def _of_long(
    rows: Iterator[list[str]], columns: Mapping[str, int], frame: int | None, time: int | None, path: str
) -> Iterator[Pose]:
    """The rows of a frame are contiguous, and within it the rows of a person."""
    image, there, pose = None, set(), None
    for number, row in enumerate(rows):
        if not row:
            continue
        at, stamp = _frame(row, frame, path, number), _time(row, time)
        mark = _mark(row, columns["mark"], path, number)
        here = stamp if frame is None else at
        if pose is None or here != image or mark in there:
            if pose is not None:
                yield pose
            image, there = here, set()
            pose = Pose(position=number, frame=at, stamp=stamp, landmarks=np.zeros((33, 3)))
        there.add(mark)
        pose.landmarks[mark] = [_number(row, columns[axis], path, number) for axis in ("x", "y", "visibility")]
    if pose is not None:
        yield pose


def _frame(row: list[str], column: int | None, path: str, number: int) -> int | None:
    return None if column is None else _whole(_number(row, column, path, number), path, number)


def _time(row: list[str], column: int | None) -> float:
    return np.nan if column is None or column >= len(row) else _float(row[column])


def _mark(row: list[str], column: int, path: str, number: int) -> int:
    name = row[column].strip().lower() if column < len(row) else ""
    if name in LANDMARKS:
        return LANDMARKS.index(name)
    mark = _whole(_number(row, column, path, number), path, number)
    if not 0 <= mark < 33:
        raise error(path, f"row {number + 2}", "a landmark from 0 to 32", f"{mark}")
    return mark


def _number(row: list[str], column: int, path: str, number: int) -> float:
    """The number in a column; an empty field was not observed."""
    text = row[column].strip() if column < len(row) else ""
    try:
        return float(text) if text else float("nan")
    except ValueError as problem:
        raise error(path, f"row {number + 2}", "numbers", repr(text)[:80]) from problem


def _whole(value: float, path: str, number: int) -> int:
    whole = parse_integer(value) if np.isfinite(value) else None
    if whole is None:
        raise error(path, f"row {number + 2}", "a whole number of frame and landmark", f"{value}")
    return whole


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _positive(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: _float(value) for name, value in values.items()}
    return {name: number for name, number in numbers.items() if 0 < number < 1e6}


def _landmarks(marks: Any, path: str, position: int) -> list[list[Any]]:
    if isinstance(marks, list) and len(marks) == 1 and isinstance(marks[0], list):
        marks = marks[0]  # the newer interface returns a list of people
    if not (isinstance(marks, list) and all(isinstance(mark, dict) and {"x", "y"} <= set(mark) for mark in marks)):
        raise error(path, f"frame {position}", "33 landmarks with x and y", repr(marks)[:80])
    return [[mark["x"], mark["y"], mark.get("visibility", 1)] for mark in marks]
