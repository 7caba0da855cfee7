"""The results of a shard: its report, and the list of its sequences.

The report is written last, so a shard with a report is complete: a restart only does the shards without one. The list
of sequences is a separate file, since it may have a million entries: it is written and read a few thousand at a time.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from datasets.extraction.shard import WORK, Shard, find_known_source
from datasets.sequences import Source
from datasets.store.json_form import STRICT, from_json, to_json
from datasets.store.manifest import FileEntry, SplitCounts
from datasets.store.parquet import read_part, write_part, write_whole

_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One usable sequence of a shard; entries are in the order of the rows of their split."""

    sequence_id: str
    split: str
    recording: int
    """Index of the sequence's recording within the shard."""
    digest: str
    """Digest of the sequence's content."""
    duplicate_of: str | None = None
    """``source/sequence_id`` of the sequence that is stored instead, if this one is a duplicate."""


_CONTENTS = pa.schema(
    [
        pa.field("sequence_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("recording", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("copy_of", pa.string()),  # the name of duplicate_of in the first stores
    ]
)


class Contents:
    """The list of a shard's sequences while it grows: 100 bytes each."""

    def __init__(self) -> None:
        self._new: list[Stored] = []
        self._tables: list[pa.Table] = []

    def add(self, entry: Stored) -> None:
        """Add a sequence."""
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
    """The results of a shard."""

    __pydantic_config__ = STRICT

    source: Source
    recordings: int
    quarantined: int
    """Recordings without any stored sequence."""
    quarantined_sequences: int
    """Sequences of the other recordings that could not be stored."""
    duplicates: int = 0
    """Sequences that are left out as duplicates of another one in the store."""
    splits: Mapping[str, SplitCounts]
    files: tuple[FileEntry, ...]
    contents: FileEntry
    """The file with the list of sequences."""

    @property
    def lost(self) -> int:
        """Number of recordings and sequences that could not be used."""
        return self.quarantined + self.quarantined_sequences

    def to_json(self) -> str:
        """Return the text of the report."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ShardReport":
        """Parse the text of a report; reports of older versions only have their source's name.

        Raises:
            ValueError: It is not a report, or its source is unknown to this version.
        """
        raw = json.loads(text)
        return from_json(cls, json.dumps(_renamed(raw)) if isinstance(raw, dict) and "copies" in raw else text)


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    """Return an older version's report with the field names of this version."""
    source = find_known_source(str(raw.get("source")))
    renamed = {"duplicates" if key == "copies" else key: value for key, value in raw.items()}
    return renamed | {"source": asdict(source) | {"test_subjects": sorted(source.test_subjects)}}


def read_contents(store: str, report: ShardReport) -> Iterator[Stored]:
    """Yield the sequences of a shard in order.

    Raises:
        StoreError: The list is missing, or differs from what was written.
    """
    for batch in read_part(store, report.contents, _CONTENTS).to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            duplicate_of = row.pop("copy_of")
            yield Stored(**row, duplicate_of=duplicate_of)


def write_report(shard: Shard, store: str, report: ShardReport) -> None:
    """Mark a shard as done by writing its report, after all of its other files."""
    write_whole(f"{store}/{shard.report_path}", report.to_json().encode())
