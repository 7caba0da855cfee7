"""Parse image names: the frame number, the time stamp, and whether the images are frames of one video.

These are the names that detectors write beside the people of an image: ``clip_0012.jpg``, ``12``,
``2018-07-04T12_04_17.738369.png``, with or without a folder and a suffix. Frame numbers need not be padded with zeros.
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

from datasets.assembly.people import error

_COPY = re.compile(r" \(\d+\)$")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)[_:](\d\d)[_:](\d\d(?:\.\d+)?)$")
_NUMBER = re.compile(r"(\d{1,20})")


def frame_number(image_id: Any, path: str) -> int:
    """Return the frame number in an ``image_id``: the last number in the name. ``path`` is for messages.

    Raises:
        RecordingError: The name contains no number.
    """
    if isinstance(image_id, int) and not isinstance(image_id, bool):
        return image_id
    name = _stem(image_id)
    numbers = _NUMBER.findall(name)
    if not numbers or _TIMESTAMP.search(name):
        expected = "a name with the frame number, such as 123.jpg, or time stamps for all images"
        raise error(path, "image_id", expected, repr(image_id)[:80])
    return int(numbers[-1])


def timestamp(image_id: Any) -> float | None:
    """Return the seconds since 1970 that a name states, or None."""
    match = _TIMESTAMP.search(_stem(image_id)) if isinstance(image_id, str) else None
    if match is None:
        return None
    day, hours, minutes, seconds = match.groups()
    try:
        date = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
    except ValueError:
        return None
    return date + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def is_copy(name: str) -> bool:
    """Tell whether a file manager copied this file: it adds "(1)" to the name of a copy."""
    return _COPY.search(name.rpartition(".")[0]) is not None


def are_series(names: Collection[int | str]) -> bool:
    """Tell whether names can be frames of one video: numbers, time stamps, or names that differ in one number only."""
    if all(isinstance(name, int) or timestamp(name) is not None for name in names):
        return True
    parts = [tuple(_NUMBER.split(re.sub(r"\.[A-Za-z]\w*$", "", str(name)))) for name in names]
    if len({len(part) for part in parts}) > 1:
        return False
    varying = [place for place, values in enumerate(zip(*parts, strict=True)) if len(set(values)) > 1]
    return len(varying) < 2 and all(place % 2 for place in varying)  # numbers are at the odd positions


def _stem(image_id: Any) -> str:
    """The name without folder, suffix and the "(1)" of a copy."""
    name = str(image_id).rpartition("/")[2]
    return _COPY.sub("", re.sub(r"\.[A-Za-z]\w*$", "", name))
