"""The unit of extraction: a shard is a fixed set of recordings, named by a hash of its inputs.

It has recordings of one reader and one source, at most 64 MB or 256 of them. Its files are named after it, so a shard
can be done on any machine, in any order and again, with the same bytes as result.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby

from datasets.sequences import Recording, Source
from datasets.store.json_form import STRICT, from_json, to_json
from datasets.store.parquet import SEGMENT_FRAMES

SHARD_BYTES = 64 * 2**20
SHARD_RECORDINGS = 256
WORK = "_shards"
"""The folder of the store with the plans and the reports of finished shards."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Recordings of one reader and source that are extracted together."""

    recordings: tuple[Recording, ...]
    fps: float
    attempt: int = 0
    """Number of earlier attempts to extract these recordings."""

    @property
    def source(self) -> Source:
        """The source of all recordings."""
        return self.recordings[0].source

    @property
    def reader(self) -> str:
        """The name of the reader of all recordings."""
        return self.recordings[0].reader

    @cached_property
    def id(self) -> str:
        """16 hex digits that depend on the recordings' paths and sizes and on the settings."""
        settings = {"fps": self.fps, "segment_frames": SEGMENT_FRAMES, "attempt": self.attempt}
        described = json.dumps(settings | {"recordings": [asdict(_planned(each)) for each in self.recordings]})
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    @property
    def report_path(self) -> str:
        """Path of the shard's report inside the store."""
        return f"{WORK}/{self.id}.json"

    def to_json(self) -> str:
        """Return the shard as text, to send it to the workers."""
        return to_json(self.planned())

    @classmethod
    def from_json(cls, text: str | bytes) -> "Shard":
        """Parse the text that ``to_json`` returned."""
        return from_json(PlannedShard, text).shard()

    def planned(self) -> "PlannedShard":
        """Return the shard in the form that plans store."""
        recordings = tuple(_planned(each) for each in self.recordings)
        return PlannedShard(source=self.source, recordings=recordings, fps=self.fps, attempt=self.attempt)


@dataclass(frozen=True, kw_only=True)
class PlannedRecording:
    """A recording in JSON: its source by name, since all recordings of a shard share it."""

    path: str
    reader: str
    source: str
    companions: tuple[str, ...]
    size: int
    companions_digest: str


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """A shard in JSON."""

    __pydantic_config__ = STRICT

    source: Source | None = None
    """None in stores of older versions, which only have the source's name."""
    recordings: tuple[PlannedRecording, ...]
    fps: float
    attempt: int

    def shard(self) -> Shard:
        """Return the shard.

        Raises:
            ValueError: It has no recordings, or its source is unknown to this version.
        """
        if not self.recordings:
            raise ValueError("recordings: a shard without any")
        source = self.source or find_known_source(self.recordings[0].source)
        recordings = (
            Recording(
                path=each.path,
                reader=each.reader,
                source=source,
                companions=each.companions,
                size=each.size,
                companions_digest=each.companions_digest,
            )
            for each in self.recordings
        )
        return Shard(recordings=tuple(recordings), fps=self.fps, attempt=self.attempt)


def _planned(recording: Recording) -> PlannedRecording:
    return PlannedRecording(
        path=recording.path,
        reader=recording.reader,
        source=recording.source.name,
        companions=recording.companions,
        size=recording.size,
        companions_digest=recording.companions_digest,
    )


def find_known_source(name: str) -> Source:
    """Return a source of this version's readers by name, for stores of older versions, which only have the name.

    Raises:
        ValueError: No source has this name.
    """
    from datasets.readers.registry import SOURCES  # imports all readers, so only if it is needed

    if name not in SOURCES:
        raise ValueError(f"the source {name} is not known to this version")
    return SOURCES[name]


def plan(recordings: Iterable[Recording], *, fps: float, attempt: int = 0) -> list[Shard]:
    """Group recordings into shards; the result does not depend on the order of the recordings."""

    def kind(recording: Recording) -> tuple[str, str]:
        return recording.source.name, recording.reader

    ordered = sorted(set(recordings), key=lambda recording: (*kind(recording), recording.path))
    groups = (_filled(group) for _, group in groupby(ordered, key=kind))
    return [Shard(recordings=tuple(batch), fps=fps, attempt=attempt) for batches in groups for batch in batches]


def _filled(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    batch: list[Recording] = []
    size = 0
    for recording in recordings:
        if batch and (size + recording.size > SHARD_BYTES or len(batch) == SHARD_RECORDINGS):
            yield batch
            batch, size = [], 0
        batch.append(recording)
        size += recording.size
    if batch:
        yield batch
