"""Common parts of files in COCO's layout: joint names, image sizes, and keypoints as flat lists of numbers.

Several data sets share the layout and differ in their joints, which ``categories`` names, often at the very end of a
file of gigabytes. So a file is recognised by searching its text for the names, without parsing it (about 1 GB/s).
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.containers.json_stream import stream
from datasets.files import head, url_to_fs
from datasets.joints.tables import FARTHEST
from datasets.sequences import File, RecordingError
from motion_encoder.shapes import Float

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The joints of COCO itself, as its files spell them."""
NUM_JOINTS = len(COCO_NAMES)
"""COCO and the other data sets with its layout all have 17 joints."""
CHUNK = 1 << 20
_NAMES_END = 16_384
"""Overlap in bytes of two chunks that are searched; longer than any list of joint names."""
_NAMES = re.compile(rb'"keypoints"\s*:\s*(\[\s*"[^\[\]{}]*"\s*\])')
_SECTION = re.compile(rb'"(info|licenses|categories|images|annotations)"\s*:')


@lru_cache(maxsize=65536)
def joint_names(file: File) -> tuple[str, ...]:
    """Return the joint names that a file in COCO's layout declares; empty for other and unreadable files."""
    if not (file.path.lower().endswith(".json") and head(file).lstrip()[:1] == b"{" and _SECTION.search(head(file))):
        return ()
    for window in _windows(file.path):
        if match := _NAMES.search(window):
            return _texts(match[1])
    return ()


def members(path: str, key: str) -> Iterator[Any]:
    """Yield the items of the list under ``key`` (``""`` if the file is a list itself), one in memory at a time.

    Raises:
        RecordingError: The file is missing, or is not complete JSON.
    """
    return (value for name, value in stream(path) if name == key)


def size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    """Return (width, height) of an entry of ``images``, or None if it does not state them."""
    width, height = image.get("width"), image.get("height")
    if isinstance(width, int) and isinstance(height, int) and 0 < min(width, height) <= FARTHEST:
        return width, height
    return None


def parse_keypoints(keypoints: Any, *, path: str, where: str, num_joints: int = NUM_JOINTS) -> Float[np.ndarray, "K 3"]:
    """Return the joints of an annotation: x, y and a third value.

    Raises:
        RecordingError: There are not K x 3 numbers, or they cannot be pixels.
    """
    count = 3 * num_joints
    numbers = isinstance(keypoints, list) and all(isinstance(value, int | float) for value in keypoints)
    if not numbers or len(keypoints) != count:
        raise error(path, where, f"keypoints: {count} numbers", repr(keypoints)[:80])
    if not all(abs(value) <= FARTHEST for value in keypoints):
        raise error(path, where, f"coordinates up to {FARTHEST:g} pixels", repr(keypoints)[:80])
    return np.array(keypoints, dtype=np.float32).reshape(-1, 3)


def error(path: str, where: str, expected: str, found: str) -> RecordingError:
    """Return the error for a file that violates the layout."""
    fix = "Fetch the file again, or correct the tool that wrote it."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)


def _windows(path: str) -> Iterator[bytes]:
    """Yield a file in overlapping pieces, so that each list of names is whole in one of them."""
    filesystem, inner = url_to_fs(path)
    kept = b""
    with filesystem.open(inner, "rb") as file:
        while chunk := file.read(CHUNK):
            yield kept + chunk
            kept = (kept + chunk)[-_NAMES_END:]


def _texts(array: bytes) -> tuple[str, ...]:
    try:
        names = json.loads(array)
    except ValueError:
        return ()
    return tuple(name for name in names if isinstance(name, str))
