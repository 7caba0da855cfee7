"""The unit of extraction: a shard, which is a fixed set of recordings, named by a hash of what goes into it.

It holds recordings of one reader and source, at most 64 MB or 256 of them.

Its files carry that name, so that a shard can be done anywhere, again, in any order, with the same bytes as result. Its
report, written last, says that it is done: a restart does only what has no report.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from datasets.manifest import FileEntry, SplitCounts
from datasets.sequences import Recording
from datasets.store import SEGMENT_FRAMES, write_whole

SHARD_BYTES = 64 * 2**20
SHARD_RECORDINGS = 256
WORK = "_shards"
"""The folder of the store that says what it is made of, and what of it is done."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Recordings of one reader and source that are extracted together."""

    recordings: tuple[Recording, ...]
    fps: float
    attempt: int = 0
    """How often these recordings were extracted before, with something that could not be used."""

    @cached_property
    def id(self) -> str:
        """16 hex digits: a function of the recordings' paths and sizes and of the settings."""
        settings = {"fps": self.fps, "segment_frames": SEGMENT_FRAMES, "attempt": self.attempt}
        described = json.dumps(settings | {"recordings": [asdict(recording) for recording in self.recordings]})
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    @property
    def report_path(self) -> str:
        """Where in the store the shard's report lies."""
        return f"{WORK}/{self.id}.json"

    def to_json(self) -> str:
        """Return the shard as text: what travels to the workers."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Shard":
        """Read what ``to_json`` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Shard":
        """Read what ``dataclasses.asdict`` made of a shard."""
        recordings = (Recording(**(each | {"companions": tuple(each["companions"])})) for each in raw["recordings"])
        return cls(recordings=tuple(recordings), fps=raw["fps"], attempt=raw["attempt"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One sequence that a shard found good, in the order of the rows of its split."""

    sequence_id: str
    split: str
    recording: int
    """Which of the shard's recordings it is from."""
    digest: str
    """Of its content."""
    copy_of: str | None = None
    """``source/sequence_id`` of the sequence that it repeats: it is left out, and stands in the quarantine table."""


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard; its presence in the store says that the shard's files are there."""

    source: str
    recordings: int
    quarantined: int
    quarantined_sequences: int
    splits: Mapping[str, SplitCounts]
    files: tuple[FileEntry, ...]
    contents: tuple[Stored, ...]

    @property
    def lost(self) -> int:
        """How many recordings and sequences could not be used."""
        return self.quarantined + self.quarantined_sequences

    def to_json(self) -> str:
        """Return the text of the report."""
        contents = [[getattr(entry, each.name) for each in fields(Stored)] for entry in self.contents]
        return json.dumps({**asdict(replace(self, contents=())), "contents": contents})

    @classmethod
    def from_json(cls, text: str | bytes) -> "ShardReport":
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls._from_dict(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no report of a shard: {error!r}") from error

    @classmethod
    def _from_dict(cls, raw: dict[str, Any]) -> "ShardReport":
        return cls(
            **raw
            | {
                "splits": {split: SplitCounts(**counts) for split, counts in raw["splits"].items()},
                "files": tuple(FileEntry(**entry) for entry in raw["files"]),
                "contents": tuple(_stored(*entry) for entry in raw["contents"]),
            }
        )


def _stored(sequence_id: str, split: str, recording: int, digest: str, copy_of: str | None) -> Stored:
    return Stored(sequence_id=sequence_id, split=split, recording=recording, digest=digest, copy_of=copy_of)


def write_report(shard: Shard, store: str, report: ShardReport) -> None:
    """Say that a shard is done: the last thing that is written of it."""
    write_whole(f"{store}/{shard.report_path}", report.to_json().encode())


def plan(recordings: Iterable[Recording], *, fps: float, attempt: int = 0) -> list[Shard]:
    """Group recordings into shards; the same recordings give the same shards in whatever order they come."""

    def kind(recording: Recording) -> tuple[str, str]:
        return recording.source, recording.reader

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
