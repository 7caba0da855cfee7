"""Which files of an input are whose.

A file is claimed by at most one reader: the first, in the order of ``READERS``, whose ``find`` wants it, by its name or
by its first bytes. What nobody claims is returned, so that a job reports it, unless it is plainly no recording: a
companion (``.asf``, ``video.json``), a document, a picture or video, code. Text of which more than a third is digits is
data, whatever its name.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from datasets.files import head, list_files, read_heads
from datasets.sequences import File, Reader, Recording
from datasets.sources import joint_map, sidecar
from datasets.sources.catalogue import FORMATS, READERS

SHARED = frozenset({sidecar.SIDECAR, joint_map.NAME})
"""Companions that files of several formats may have in common."""
TEXT = frozenset({"", ".txt", ".csv", ".log"})
NO_RECORDINGS = frozenset(
    {
        ".asf", ".calibration", ".md", ".rst", ".pdf", ".html", ".yaml", ".yml", ".toml", ".ini", ".jpg", ".jpeg",
        ".png", ".gif", ".svg", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".py", ".m", ".sh", ".ipynb",
    }
)  # fmt: skip


def find_in(url: str, readers: Mapping[str, Reader] = READERS) -> tuple[list[Recording], list[File]]:
    """Return the recordings of an input, and the files in it that look like data but that nobody reads.

    A file that is named alone has its companions from the folder that it lies in. If one reader is asked alone, it
    takes the file whatever it looks like.

    Raises:
        ValueError: there is nothing at ``url``.
    """
    files = list_files(url)
    if not _is_one_file(url, files):
        return find_recordings(files, readers)
    [file] = files
    beside = [
        each for each in list_files(file.path.rpartition("/")[0] or "/", deep=False) if _may_accompany(each, file)
    ]
    found, unknown = find_recordings([file, *beside], readers)
    mine = [each for each in found if file.path in (each.path, *each.companions)]
    if not mine and len(readers) == 1:
        mine = [_unrecognised(file, reader) for reader in readers]
    return mine, [each for each in unknown if each == file]


def find_recordings(
    files: Iterable[File], readers: Mapping[str, Reader] = READERS
) -> tuple[list[Recording], list[File]]:
    """Return the recordings among ``files`` and the files that look like data but that nobody reads, both by path."""
    unclaimed = {file.path: file for file in files}
    read_heads(list(unclaimed.values()))
    recordings: list[Recording] = []
    for reader in readers.values():
        found = reader.find(unclaimed.values())
        recordings += found
        for path in [path for recording in found for path in (recording.path, *recording.companions)]:
            if PurePosixPath(path).name not in SHARED:
                unclaimed.pop(path, None)
    unknown = [file for file in unclaimed.values() if _looks_like_data(file)]
    return sorted(recordings, key=lambda recording: recording.path), sorted(unknown, key=lambda file: file.path)


def _is_one_file(url: str, files: list[File]) -> bool:
    return len(files) == 1 and PurePosixPath(files[0].path).name == PurePosixPath(url).name


def _may_accompany(each: File, file: File) -> bool:
    name = PurePosixPath(each.path)
    return each != file and (name.name in SHARED or name.suffix.lower() in NO_RECORDINGS | TEXT)


def _unrecognised(file: File, reader: str) -> Recording:
    source = next(module.SOURCES[0].name for module in FORMATS if module.READER.name == reader)
    return Recording(path=file.path, reader=reader, source=source, size=file.size)


def _looks_like_data(file: File) -> bool:
    name = PurePosixPath(file.path)
    if name.name in SHARED or name.suffix.lower() in NO_RECORDINGS:
        return False
    if name.suffix.lower() not in TEXT:
        return True
    start = head(file)
    digits = sum(start.count(digit) for digit in b"0123456789")
    return 3 * digits > len(start) - sum(start.count(space) for space in b" \t\r\n")
