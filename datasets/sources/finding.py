"""Which files of a folder are whose.

A file is claimed by at most one reader: the first, in the order of ``READERS``, whose ``find`` wants it, by its name or
by its first bytes. What nobody claims is returned, so that a job reports it, unless it is plainly no recording: a
companion (``.asf``, ``video.json``), a document, a picture or video, code, or a file without a suffix (README).
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from datasets.sequences import File, Reader, Recording
from datasets.sources import joint_map, sidecar
from datasets.sources.catalogue import FORMATS, READERS

SHARED = frozenset({sidecar.SIDECAR, joint_map.NAME})
"""Companions that files of several formats may have in common."""
NO_RECORDINGS = frozenset(
    {
        "", ".asf", ".calibration", ".md", ".rst", ".txt", ".csv", ".pdf", ".html", ".log", ".yaml", ".yml", ".toml",
        ".ini", ".jpg", ".jpeg", ".png", ".gif", ".svg", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".py", ".m", ".sh",
        ".ipynb",
    }
)  # fmt: skip


def find_recordings(
    files: Iterable[File], readers: Mapping[str, Reader] = READERS
) -> tuple[list[Recording], list[File]]:
    """Return the recordings among ``files`` and the files that look like data but that nobody reads, both by path."""
    unclaimed = {file.path: file for file in files}
    recordings: list[Recording] = []
    for reader in readers.values():
        found = reader.find(unclaimed.values())
        recordings += found
        for path in [path for recording in found for path in (recording.path, *recording.companions)]:
            if PurePosixPath(path).name not in SHARED:
                unclaimed.pop(path, None)
    unknown = [file for file in unclaimed.values() if _looks_like_data(file.path)]
    return sorted(recordings, key=lambda recording: recording.path), sorted(unknown, key=lambda file: file.path)


def recording_of(file: File, reader: str) -> Recording:
    """Return one file as a recording of the reader that the user names, whatever the file looks like."""
    [found] = READERS[reader].find([file]) or [_unrecognised(file, reader)]
    return found


def _unrecognised(file: File, reader: str) -> Recording:
    source = next(module.SOURCES[0].name for module in FORMATS if module.READER.name == reader)
    return Recording(path=file.path, reader=reader, source=source, size=file.size)


def _looks_like_data(path: str) -> bool:
    name = PurePosixPath(path)
    return name.name not in SHARED and name.suffix.lower() not in NO_RECORDINGS
