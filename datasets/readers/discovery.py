"""Assign each file of an input to a reader.

A file is claimed by at most one reader: the first one, in the order of ``READERS``, whose ``find`` accepts it by its
name or its first bytes. Files that no reader claims are returned so that a job can report them, except those that are
obviously not recordings: companions (``.asf``, ``video.json``), documents, pictures, videos, code. Text counts as data,
whatever its name, if more than a third of it is digits.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from datasets.assembly import video_json
from datasets.files import files_in, head, list_files, read_heads
from datasets.joints import joint_map
from datasets.readers.registry import all_readers, find_format
from datasets.sequences import File, Reader, Recording

SHARED = frozenset({video_json.SIDECAR, joint_map.NAME})
"""Companion files that several formats share."""
COMPANIONS = frozenset({".asf", ".calibration"})
_FOLDERS_ABOVE = 3
TEXT = frozenset({"", ".txt", ".csv", ".log"})
NO_RECORDINGS = frozenset(
    {
        *COMPANIONS, ".md", ".rst", ".pdf", ".html", ".yaml", ".yml", ".toml", ".ini", ".jpg", ".jpeg",
        ".png", ".gif", ".svg", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".py", ".m", ".sh", ".ipynb",
    }
)  # fmt: skip


@runtime_checkable
class HasCompanions(Protocol):
    """A reader whose recordings need other files beside them, such as a skeleton or a ``video.json``."""

    def companions_of(self, path: str, files: Iterable[File]) -> tuple[str, ...]:
        """Return those of ``files`` that are companions of the recording at ``path``, whatever its name."""
        ...


def find_in(url: str, readers: Mapping[str, Reader] | None = None) -> tuple[list[Recording], list[File]]:
    """Return the recordings of an input, and the files in it that look like data but that no reader claims.

    ``readers`` defaults to all known ones; its keys are the reader names that the recordings get.

    Skeletons and joint maps are searched up to three folders above. If ``url`` is a single file, its companions are
    searched in its folder. If only one reader is given, it gets this file whatever the file looks like.

    Raises:
        ValueError: ``url`` does not exist or contains no file.
    """
    readers = all_readers() if readers is None else readers
    files = list_files(url)
    if not _is_one_file(url, files):
        above = _above(url)
        found, unknown = find_recordings([*files, *above], readers)
        return found, [each for each in unknown if each not in above]
    [file] = files
    folder = file.path.rpartition("/")[0]
    around = [*(each for each in files_in(folder) if _may_accompany(each, file)), *_above(folder)]
    found, unknown = find_recordings([file, *around], readers)
    mine = [each for each in found if file.path in (each.path, *each.companions)]
    if not mine and len(readers) == 1:
        return [_unrecognised(file, around, name, reader) for name, reader in readers.items()], []
    return mine, [each for each in unknown if each == file]


def is_companion(path: str) -> bool:
    """Tell by its name whether a file is a companion of recordings and not a recording itself."""
    return PurePosixPath(path).name in SHARED or PurePosixPath(path).suffix.lower() in COMPANIONS


def find_recordings(
    files: Iterable[File], readers: Mapping[str, Reader] | None = None
) -> tuple[list[Recording], list[File]]:
    """Return the recordings, and the files that look like data but that no reader claims, both sorted by path."""
    unclaimed = {file.path: file for file in files}
    sizes = {file.path: file.size for file in unclaimed.values()}
    read_heads(list(unclaimed.values()))
    recordings: list[Recording] = []
    for name, reader in (all_readers() if readers is None else readers).items():
        found = [_with_digest(replace(recording, reader=name), sizes) for recording in reader.find(unclaimed.values())]
        recordings += found
        for path in [path for recording in found for path in (recording.path, *recording.companions)]:
            if PurePosixPath(path).name not in SHARED:
                unclaimed.pop(path, None)
    unknown = [file for file in unclaimed.values() if _looks_like_data(file)]
    return sorted(recordings, key=lambda recording: recording.path), sorted(unknown, key=lambda file: file.path)


def _with_digest(recording: Recording, sizes: Mapping[str, int]) -> Recording:
    if not recording.companions:
        return recording
    described = hashlib.sha256()
    for path in recording.companions:
        file = File(path, sizes.get(path, 0))
        said = head(file) if PurePosixPath(path).name in SHARED else b""
        described.update(f"{file.size} ".encode() + said)
    return replace(recording, companions_digest=described.hexdigest()[:16])


def _is_one_file(url: str, files: list[File]) -> bool:
    return len(files) == 1 and PurePosixPath(files[0].path).name == PurePosixPath(url).name


def _above(folder: str) -> list[File]:
    """The companion files in the folders above ``folder``."""
    found: list[File] = []
    for _ in range(_FOLDERS_ABOVE):
        folder = folder.rstrip("/").rpartition("/")[0]
        if not folder or folder.endswith((":/", ":")):
            break
        found += [file for file in files_in(folder) if is_companion(file.path) and _name(file) != video_json.SIDECAR]
    return found


def _name(file: File) -> str:
    return PurePosixPath(file.path).name


def _may_accompany(each: File, file: File) -> bool:
    name = PurePosixPath(each.path)
    return each != file and (name.name in SHARED or name.suffix.lower() in NO_RECORDINGS | TEXT)


def _unrecognised(file: File, around: list[File], name: str, reader: Reader) -> Recording:
    """Return a recording for a file whose reader the user named, although the reader does not recognise it."""
    companions = reader.companions_of(file.path, around) if isinstance(reader, HasCompanions) else ()
    source = find_format(name).sources[0]
    recording = Recording(path=file.path, reader=name, source=source, companions=companions, size=file.size)
    return _with_digest(recording, {each.path: each.size for each in around})


def _looks_like_data(file: File) -> bool:
    name = PurePosixPath(file.path)
    if name.name in SHARED or name.suffix.lower() in NO_RECORDINGS:
        return False
    if name.suffix.lower() not in TEXT:
        return True
    start = head(file)
    digits = sum(start.count(digit) for digit in b"0123456789")
    return 3 * digits > len(start) - sum(start.count(space) for space in b" \t\r\n")
