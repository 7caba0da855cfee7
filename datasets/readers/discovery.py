"""Which files of an input are whose.

A file is claimed by at most one reader: the first, in the order of ``READERS``, whose ``find`` wants it, by its name or
by its first bytes. What nobody claims is returned, so that a job reports it, unless it is plainly no recording: a
companion (``.asf``, ``video.json``), a document, a picture or video, code. Text of which more than a third is digits is
data, whatever its name.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from datasets.assembly import video_json
from datasets.files import files_in, head, list_files, read_heads
from datasets.joints import joint_map
from datasets.readers.registry import all_readers, find_format
from datasets.sequences import File, Reader, Recording

SHARED = frozenset({video_json.SIDECAR, joint_map.NAME})
"""Companions that files of several formats may have in common."""
COMPANIONS = frozenset({".asf", ".calibration"})
_FOLDERS_ABOVE = 3
TEXT = frozenset({"", ".txt", ".csv", ".log"})
NO_RECORDINGS = frozenset(
    {
        *COMPANIONS, ".md", ".rst", ".pdf", ".html", ".yaml", ".yml", ".toml", ".ini", ".jpg", ".jpeg",
        ".png", ".gif", ".svg", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".py", ".m", ".sh", ".ipynb",
    }
)  # fmt: skip


def find_in(url: str, readers: Mapping[str, Reader] | None = None) -> tuple[list[Recording], list[File]]:
    """Return the recordings of an input, and the files in it that look like data but that no reader wants.

    ``readers`` are all known ones if left out; a recording's reader is the name that it has there.

    Skeletons and joint maps may lie up to three folders above. A file that is named alone has its companions from the
    folder that it lies in; if one reader alone is asked, it takes the file whatever it looks like.

    Raises:
        ValueError: there is nothing at ``url``.
    """
    readers = all_readers() if readers is None else readers
    files = list_files(url)
    if not _is_one_file(url, files):
        above = _above(url)
        found, unknown = find_recordings([*files, *above], readers)
        return found, [each for each in unknown if each not in above]
    [file] = files
    folder = file.path.rpartition("/")[0]
    beside = [each for each in files_in(folder) if _may_accompany(each, file)]
    found, unknown = find_recordings([file, *beside, *_above(folder)], readers)
    mine = [each for each in found if file.path in (each.path, *each.companions)]
    if not mine and len(readers) == 1:
        mine = [_unrecognised(file, reader) for reader in readers]
    return mine, [each for each in unknown if each == file]


def is_companion(path: str) -> bool:
    """Whether a file by its name goes with recordings and is none itself."""
    return PurePosixPath(path).name in SHARED or PurePosixPath(path).suffix.lower() in COMPANIONS


def find_recordings(
    files: Iterable[File], readers: Mapping[str, Reader] | None = None
) -> tuple[list[Recording], list[File]]:
    """Return the recordings among ``files`` and the files that look like data but no reader wants, both by path."""
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
    """The companions in the folders above one."""
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


def _unrecognised(file: File, reader: str) -> Recording:
    return Recording(path=file.path, reader=reader, source=find_format(reader).sources[0], size=file.size)


def _looks_like_data(file: File) -> bool:
    name = PurePosixPath(file.path)
    if name.name in SHARED or name.suffix.lower() in NO_RECORDINGS:
        return False
    if name.suffix.lower() not in TEXT:
        return True
    start = head(file)
    digits = sum(start.count(digit) for digit in b"0123456789")
    return 3 * digits > len(start) - sum(start.count(space) for space in b" \t\r\n")
