"""What became of a shard: its report, and the list of its sequences.

The report is written last, so its presence says that the shard's files are there: a restart does only the shards that
have none. The list of sequences lies in a file of its own, since it may have a million of them: it is written and read
a few thousand at a time.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from datasets.extraction.shard import WORK, Shard, known_source
from datasets.sequences import Source
from datasets.store.json_form import STRICT, from_json, to_json
from datasets.store.manifest import FileEntry, SplitCounts
from datasets.store.parquet import read_part, write_part, write_whole

_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One sequence that a shard found good, in the order of the rows of its split."""

    sequence_id: str
    split: str
    recording: int
    """Number of the recording that it is from, within the shard."""
    digest: str
    """Digest of its content."""
    duplicate_of: str | None = None
    """``source/sequence_id`` of the sequence with the same content for which it is left out."""


_CONTENTS = pa.schema(
    [
        pa.field("sequence_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("recording", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("copy_of", pa.string()),  # duplicate_of, as the first stores called it
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
        """Write the list to the store."""
        self._put_together()
        return write_part(store, f"{WORK}/{name}.parquet", pa.concat_tables([_CONTENTS.empty_table(), *self._tables]))

    def _put_together(self) -> None:
        rows = [(each.sequence_id, each.split, each.recording, each.digest, each.duplicate_of) for each in self._new]
        columns = zip(*rows, strict=True) if rows else [[]] * len(_CONTENTS)
        self._tables.append(pa.table([list(column) for column in columns], schema=_CONTENTS))
        self._new = []


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard."""

    __pydantic_config__ = STRICT

    source: Source
    recordings: int
    quarantined: int
    """Recordings of which nothing could be stored."""
    quarantined_sequences: int
    """Sequences that could not be stored, of the other recordings."""
    duplicates: int = 0
    """Sequences that are left out because another one of the store has the same content."""
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
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ShardReport":
        """Read the text of a report; those of older versions name their source alone.

        Raises:
            ValueError: It is something else, or of a source that only an older version knew.
        """
        raw = json.loads(text)
        return from_json(cls, json.dumps(_renamed(raw)) if isinstance(raw, dict) and "copies" in raw else text)


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what an older version's report says under the names of this one."""
    source = known_source(str(raw.get("source")))
    renamed = {"duplicates" if key == "copies" else key: value for key, value in raw.items()}
    return renamed | {"source": asdict(source) | {"test_subjects": sorted(source.test_subjects)}}


def read_contents(store: str, report: ShardReport) -> Iterator[Stored]:
    """Yield the sequences of a shard in order.

    Raises:
        StoreError: their list is missing, or is not what was written.
    """
    for batch in read_part(store, report.contents, _CONTENTS).to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            duplicate_of = row.pop("copy_of")
            yield Stored(**row, duplicate_of=duplicate_of)


def write_report(shard: Shard, store: str, report: ShardReport) -> None:
    """Say that a shard is done: the last thing that is written of it."""
    write_whole(f"{store}/{shard.report_path}", report.to_json().encode())
