"""One reader per public format, and which files of a folder are whose.

A file is claimed by at most one reader: the first, in the order of ``READERS``, whose ``find`` wants it. What nobody
claims is returned, so that a job reports it, unless it is plainly no recording: a companion (``.asf``), a document, a
picture or video, code, or a file without a suffix (README, LICENSE).
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from datasets.sequences import File, Reader, Recording
from datasets.sources import alphapose, amc, bvh, procedural

READERS: dict[str, Reader] = {
    reader.name: reader for reader in (bvh.READER, amc.READER, alphapose.READER, procedural.READER)
}

COMPANIONS = frozenset({".asf"})
NO_RECORDINGS = frozenset(
    {
        "", ".md", ".rst", ".txt", ".csv", ".pdf", ".html", ".log", ".yaml", ".yml", ".toml", ".ini",
        ".jpg", ".jpeg", ".png", ".gif", ".svg", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".py", ".m", ".sh", ".ipynb",
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
        for recording in found:
            unclaimed.pop(recording.path, None)
    unknown = [file for file in unclaimed.values() if _looks_like_data(file.path)]
    return sorted(recordings, key=lambda recording: recording.path), sorted(unknown, key=lambda file: file.path)


def _looks_like_data(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() not in COMPANIONS | NO_RECORDINGS
