"""The unit of extraction: a shard, which is a fixed set of recordings, named by a hash of what goes into it.

It holds recordings of one reader and source, at most 64 MB or 256 of them.

Its files carry that name, so that a shard can be done anywhere, again, in any order, with the same bytes as result. Its
report, written last, says that it is done: a restart does only what has no report. The list of its sequences lies in a
file of its own, since it may have a million of them: it is written and read a few thousand at a time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import pyarrow as pa

from datasets.sequences import Recording, Source
from datasets.store.manifest import FileEntry, SplitCounts
from datasets.store.parquet import SEGMENT_FRAMES, read_part, write_part, write_whole

SHARD_BYTES = 64 * 2**20
SHARD_RECORDINGS = 256
_AT_ONCE = 4096
WORK = "_shards"
"""The folder of the store that says what it is made of, and what of it is done."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Recordings of one reader and source that are extracted together."""

    recordings: tuple[Recording, ...]
    fps: float
    attempt: int = 0
    """How often these recordings were extracted before, with something that could not be used."""

    @property
    def source(self) -> Source:
        """The one source of all recordings."""
        return self.recordings[0].source

    @property
    def reader(self) -> str:
        """The one reader of all recordings, by its name."""
        return self.recordings[0].reader

    @cached_property
    def id(self) -> str:
        """16 hex digits: a function of the recordings' paths and sizes and of the settings."""
        settings = {"fps": self.fps, "segment_frames": SEGMENT_FRAMES, "attempt": self.attempt}
        described = json.dumps(settings | {"recordings": [_described(each) for each in self.recordings]})
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    @property
    def report_path(self) -> str:
        """Where in the store the shard's report lies."""
        return f"{WORK}/{self.id}.json"

    def to_json(self) -> str:
        """Return the shard as text: what travels to the workers."""
        return json.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the shard as plain values; what is known of its source is in it once."""
        recordings = [_described(each) for each in self.recordings]
        return {"source": _source_to_dict(self.source), "recordings": recordings, "fps": self.fps} | {
            "attempt": self.attempt
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> "Shard":
        """Read what ``to_json`` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Shard":
        """Read what ``to_dict`` returned."""
        source = _source_from(raw["source"] if "source" in raw else raw["recordings"][0]["source"])
        recordings = (
            Recording(**(each | {"source": source, "companions": tuple(each["companions"])}))
            for each in raw["recordings"]
        )
        return cls(recordings=tuple(recordings), fps=raw["fps"], attempt=raw["attempt"])


def _described(recording: Recording) -> dict[str, Any]:
    """Return a recording as plain values, its source by name."""
    return {
        "path": recording.path,
        "reader": recording.reader,
        "source": recording.source.name,
        "companions": list(recording.companions),
        "size": recording.size,
        "companions_digest": recording.companions_digest,
    }


def _source_to_dict(source: Source) -> dict[str, Any]:
    return asdict(source) | {"test_subjects": sorted(source.test_subjects)}


def _source_from(raw: str | Mapping[str, Any]) -> Source:
    """Read what ``_source_to_dict`` returned; stores of older versions have the name alone.

    Raises:
        ValueError: The name of a source that this version does not know.
    """
    if not isinstance(raw, str):
        given = {"labels": tuple(raw["labels"]), "test_subjects": frozenset(raw["test_subjects"])}
        return Source(**{**raw, **given})
    from datasets.readers.registry import SOURCES  # with all readers behind it: only where it is needed

    if raw not in SOURCES:
        raise ValueError(f"the source {raw} is not known to this version")
    return SOURCES[raw]


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


_CONTENTS = pa.schema(
    [
        pa.field("sequence_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("recording", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("copy_of", pa.string()),
    ]
)


class Contents:
    """The sequences of a shard while they are found: 100 bytes each."""

    def __init__(self) -> None:
        self._new: list[Stored] = []
        self._tables: list[pa.Table] = []

    def add(self, entry: Stored) -> None:
        """Add one."""
        self._new.append(entry)
        if len(self._new) == _AT_ONCE:
            self._put_together()

    def write(self, store: str, name: str) -> FileEntry:
        """Write them down."""
        self._put_together()
        return write_part(store, f"{WORK}/{name}.parquet", pa.concat_tables([_CONTENTS.empty_table(), *self._tables]))

    def _put_together(self) -> None:
        columns = {each.name: [getattr(entry, each.name) for entry in self._new] for each in _CONTENTS}
        self._tables.append(pa.table(columns, schema=_CONTENTS))
        self._new = []


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard; its presence in the store says that the shard's files are there."""

    source: Source
    recordings: int
    quarantined: int
    quarantined_sequences: int
    copies: int = 0
    splits: Mapping[str, SplitCounts]
    files: tuple[FileEntry, ...]
    contents: FileEntry
    """The list of the sequences."""

    @property
    def lost(self) -> int:
        """How many recordings and sequences could not be used."""
        return self.quarantined + self.quarantined_sequences

    def to_json(self) -> str:
        """Return the text of the report."""
        return json.dumps(asdict(self) | {"source": _source_to_dict(self.source)})

    @classmethod
    def from_json(cls, text: str | bytes) -> "ShardReport":
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            raw = json.loads(text)
            given = {
                "source": _source_from(raw["source"]),
                "splits": {split: SplitCounts(**counts) for split, counts in raw["splits"].items()},
                "files": tuple(FileEntry(**entry) for entry in raw["files"]),
                "contents": FileEntry(**raw["contents"]),
            }
            return cls(**raw | given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no report of a shard: {error!r}") from error


def read_contents(store: str, report: ShardReport) -> Iterator[Stored]:
    """Yield the sequences of a shard in order.

    Raises:
        StoreError: their list is missing, or is not what was written.
    """
    for batch in read_part(store, report.contents, _CONTENTS).to_batches(max_chunksize=_AT_ONCE):
        yield from (Stored(**row) for row in batch.to_pylist())


def write_report(shard: Shard, store: str, report: ShardReport) -> None:
    """Say that a shard is done: the last thing that is written of it."""
    write_whole(f"{store}/{shard.report_path}", report.to_json().encode())


def plan(recordings: Iterable[Recording], *, fps: float, attempt: int = 0) -> list[Shard]:
    """Group recordings into shards; the same recordings give the same shards in whatever order they come."""

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
