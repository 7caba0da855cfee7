"""Rate and image size that the user states in a file `video.json` for the recordings of its folder.

The content is `{"width": 1920, "height": 1080, "fps": 25}`, or only the size or the rate. It takes precedence over what
the recordings state.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from datasets.files import read_bytes
from datasets.sequences import File, Recording, RecordingError

SIDECAR = "video.json"


def find_video_jsons(files: Iterable[File]) -> dict[str, str]:
    """Return the ``video.json`` of each folder that has one."""
    return {folder_of(file.path): file.path for file in files if PurePosixPath(file.path).name == SIDECAR}


def companions_of(path: str, files: Iterable[File]) -> tuple[str, ...]:
    """Return the ``video.json`` among ``files`` in the folder of ``path``, if there is one."""
    folder = folder_of(path)
    return tuple(facts for place, facts in find_video_jsons(files).items() if place == folder)


def folder_of(path: str) -> str:
    """Return the folder of a path or URL."""
    return path.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The content of a ``video.json``."""

    fps: float | None = None
    image_size: tuple[int, int] | None = None


def read_video_json(recording: Recording) -> VideoFacts:
    """Read the ``video.json`` among a recording's companions."""
    path = next((each for each in recording.companions if PurePosixPath(each).name == SIDECAR), None)
    if path is None:
        return VideoFacts()
    try:
        return _facts(json.loads(read_bytes(path)))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordingError(
            path,
            where="facts of the video",
            expected='{"width": 1920, "height": 1080, "fps": 25}, or a part of it',
            found=f"{type(error).__name__}: {str(error)[:200]}",
            fix="Correct the file, or delete it.",
        ) from error


def _facts(facts: Any) -> VideoFacts:
    if not isinstance(facts, dict):
        raise TypeError(f"a {type(facts).__name__}")
    if unknown := set(facts) - {"width", "height", "fps"}:
        raise ValueError(f"unknown keys {', '.join(sorted(unknown))}")
    fps = float(facts["fps"]) if "fps" in facts else None
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"a frame rate of {fps}")
    size = (int(facts["width"]), int(facts["height"])) if "width" in facts or "height" in facts else None
    if size is not None and min(size) < 1:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels")
    return VideoFacts(fps=fps, image_size=size)
