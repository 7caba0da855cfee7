"""Videos stored as one file per frame: find the files of each video and their order.

A recording is all files of a folder whose names differ only in the frame number. A missing file is a gap: many
detectors write no file for a frame without people, others write an empty list.
"""

import re
from collections.abc import Callable, Iterable

from datasets.assembly.people import error
from datasets.assembly.video_json import find_video_jsons, folder_of
from datasets.sequences import File, Recording, Source


def claim_videos(
    files: Iterable[File],
    pattern: re.Pattern[str],
    wanted: Callable[[File], bool],
    *,
    reader: str,
    source: Source,
) -> list[Recording]:
    """Return a recording for each video whose first frame with people is accepted, with its folder's ``video.json``.

    ``pattern`` matches file names; its group ``frame`` is the frame number, and its other groups name the video.
    """
    files = list(files)
    facts = find_video_jsons(files)
    videos: dict[tuple[str, ...], list[File]] = {}
    for file in files:
        if match := pattern.match(_name(file.path)):
            others = (text or "" for group, text in sorted(match.groupdict().items()) if group != "frame")
            videos.setdefault((folder_of(file.path), *others), []).append(file)
    recordings = []
    for (folder, *_), frames in sorted(videos.items()):
        first, *others = sorted(frames, key=lambda file: (_number(file.path, pattern), file.path))
        if wanted(next((file for file in (first, *others) if file.size > len("[]\n")), first)):
            companions = (*(file.path for file in others), *([facts[folder]] if folder in facts else []))
            size = sum(file.size for file in frames)
            recordings.append(
                Recording(path=first.path, reader=reader, source=source, companions=companions, size=size)
            )
    return recordings


def numbered_frames(recording: Recording, pattern: re.Pattern[str]) -> list[tuple[int, str]]:
    """Return the number and path of each frame of a video, in order.

    Raises:
        RecordingError: A file name contains no frame number.
    """
    if not pattern.match(_name(recording.path)):
        raise error(recording.path, "name", "a frame number at its end, such as clip_12", repr(_name(recording.path)))
    others = [path for path in recording.companions if pattern.match(_name(path))]
    return [(_number(path, pattern), path) for path in (recording.path, *others)]


def _number(path: str, pattern: re.Pattern[str]) -> int:
    match = pattern.match(_name(path))
    assert match is not None
    return int(match["frame"])


def _name(path: str) -> str:
    return path.rpartition("/")[2]
