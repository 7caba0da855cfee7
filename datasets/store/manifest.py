"""The store's table of contents: its sources, their origin and licences, and the digest of every file.

``manifest.json`` is written last, so a folder without one is not a store but an unfinished extraction. A manifest of a
newer schema version is rejected. The store's digest depends on its contents only: the same recordings give the same
digest in any location. (The quarantine table is part of it, and contains the paths of the recordings.)
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from datasets.store.json_form import STRICT, from_json

SCHEMA_VERSION = 3
"""Version of ``manifest.json``. Version 2, which differs in some names, is read too."""
PARTS_VERSION = 2
"""Version of the Parquet files; part of the store's digest."""
MANIFEST = "manifest.json"


class StoreError(ValueError):
    """A store that cannot be used: its location, what was expected, what was found, and a fix."""


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Counts of one source in one split."""

    sequences: int = 0
    segments: int = 0
    frames: int = 0
    frames_3d: int = 0
    """Frames in segments with 3D keypoints."""
    frames_2d: int = 0
    """Frames in segments with 2D keypoints."""
    hours: float = 0.0

    def __add__(self, other: "SplitCounts") -> "SplitCounts":
        return SplitCounts(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def __sub__(self, other: "SplitCounts") -> "SplitCounts":
        return SplitCounts(**{each.name: getattr(self, each.name) - getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """One source: its licence, and how much of it is in the store."""

    kind: str
    licence: str
    url: str
    labels: tuple[str, ...] = ()
    recordings: int
    """Recordings found, including quarantined ones."""
    quarantined: int
    """Recordings without any stored sequence."""
    quarantined_sequences: int
    """Quarantined sequences, and rests of recordings whose reader failed, of recordings with a stored sequence."""
    duplicates: int = 0
    """Sequences that are left out as duplicates of another one."""
    splits: Mapping[str, SplitCounts]

    @property
    def total(self) -> SplitCounts:
        """Sum of all splits."""
        return sum(self.splits.values(), SplitCounts())


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of the store: its path inside it, size, and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything needed before a part is opened."""

    __pydantic_config__ = STRICT

    fps: float
    """Frame rate that the sequences were resampled to."""
    command: str
    """The commands that made this store, one line for each time that it was extended."""
    sources: Mapping[str, SourceEntry]
    files: tuple[FileEntry, ...]
    duplicates: tuple[tuple[str, ...], ...] = ()
    """Groups of duplicates (``source/sequence_id``). Only the first of each group is stored."""
    name_collisions: tuple[str, ...] = ()
    """Names (``source/sequence_id``) that several stored sequences share."""

    @property
    def digest(self) -> str:
        """SHA-256 over the version of the parts and the sorted (partition, digest) pairs of all files."""
        return _digest(self.files)

    def split_digest(self, split: str) -> str:
        """Return the digest of one split's files, to identify the data that a score was measured on."""
        return _digest(entry for entry in self.files if f"/split={split}/" in entry.path)

    def counts(self, split: str) -> SplitCounts:
        """Return the counts of one split, summed over the sources."""
        parts = (entry.splits.get(split, SplitCounts()) for entry in self.sources.values())
        return sum(parts, SplitCounts())

    def to_json(self) -> str:
        """Return the text of ``manifest.json``; the same manifest always gives the same bytes."""
        head = {"schema_version": SCHEMA_VERSION, "digest": self.digest}
        return json.dumps(head | asdict(self), indent=2, ensure_ascii=False) + "\n"


def _digest(files: Iterable[FileEntry]) -> str:
    lines = sorted(f"{entry.path.rpartition('/')[0]} {entry.sha256}" for entry in files)
    return hashlib.sha256("\n".join([f"schema {PARTS_VERSION}", *lines]).encode()).hexdigest()


def parse_manifest(text: str, path: str) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        StoreError: The text is not a manifest, has another schema version, or was edited; the message names ``path``.
    """
    try:
        raw = json.loads(text)
        version, digest = raw.pop("schema_version"), raw.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _not_a_manifest(path, repr(error)) from error
    if version not in (2, SCHEMA_VERSION):
        fix = "Update this checkout." if isinstance(version, int) and version > SCHEMA_VERSION else "Extract again."
        raise StoreError(f"{path}: schema version: expected {SCHEMA_VERSION}, found {version!r}. {fix}")
    try:
        manifest = from_json(Manifest, json.dumps(_renamed(raw) if version == 2 else raw))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _not_a_manifest(path, str(error)) from error
    if manifest.digest != digest:
        raise StoreError(
            f"{path}: digest of the files it lists: expected {digest}, found {manifest.digest}. "
            "Its list of files was edited; extract again."
        )
    return manifest


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a manifest of version 2 under the names of version 3."""
    sources = {
        name: {
            **{key: value for key, value in source.items() if key != "copies"},
            "kind": "detections" if source["kind"] == "wild" else source["kind"],
            "duplicates": source.get("copies", 0),
        }
        for name, source in raw["sources"].items()
    }
    others = {key: value for key, value in raw.items() if key != "namesakes"}
    return others | {"sources": sources, "name_collisions": raw["namesakes"]}


def _not_a_manifest(path: str, why: str) -> StoreError:
    return StoreError(f"{path}: expected a store's manifest, found something else ({why}). Extract again.")
