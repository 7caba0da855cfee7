"""Convert recordings to parts of the store, one shard at a time: the extract job without the cluster.

Sequences are read, checked and written one after the other, so a recording may be far larger than the memory if its
reader streams: only one sequence and the rows of one part per split, 64 MB, are in memory. The files of a shard depend
on the shard only, and its report is written after them.

Nothing is dropped silently. A sequence that fails a check goes to the quarantine table with the reason. If a reader
fails, the sequences read before are stored, and the rest of the recording goes to the quarantine table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from datasets.extraction.duplicates import content_digest
from datasets.extraction.examine import examine_recording
from datasets.extraction.quarantine import Quarantined
from datasets.extraction.reading import DEFAULT_LIMITS
from datasets.extraction.shard import Shard
from datasets.extraction.shard_report import Contents, ShardReport, Stored, write_report
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Reader
from datasets.store.manifest import FileEntry, SplitCounts
from datasets.store.parquet import QUARANTINE, count_rows, partition, segment_rows, write_part

PART_BYTES = 64 * 2**20
"""Bytes of a part in memory, about two thirds of it on disk. A sequence is never split between parts."""
_QUARANTINE_ROWS = 10_000
_TOGETHER = 256


def extract_shard(
    shard: Shard, store: str, *, readers: Mapping[str, Reader], limits: ReadLimits = DEFAULT_LIMITS
) -> ShardReport:
    """Read, resample, check and store the recordings of one shard.

    Raises:
        StoreError: The store's disk is full.
        ConnectionError, TimeoutError: The input could not be reached; a retry may help.
    """
    writer = _ShardWriter(shard=shard, store=store)
    for number, recording in enumerate(shard.recordings):
        for result in examine_recording(recording, readers[recording.reader], fps=shard.fps, limits=limits):
            writer.add(number, result)
    report = writer.finish()
    write_report(shard, store, report)
    return report


@dataclass(kw_only=True)
class _Rows:
    """Rows of one split that are collected until a part is full.

    Each small table costs 10 kB in addition to its values, so 256 at a time are concatenated.
    """

    new: list[pa.Table] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    bytes: int = 0
    parts: int = 0
    counts: SplitCounts = field(default_factory=SplitCounts)

    def add(self, rows: pa.Table) -> None:
        self.new.append(rows)
        self.bytes += rows.nbytes
        self.counts += count_rows(rows)
        if len(self.new) == _TOGETHER:
            self._put_together()

    def take(self) -> pa.Table:
        """Return the rows of the part, and begin the next part."""
        self._put_together()
        rows = pa.concat_tables(self.tables)
        self.tables, self.bytes, self.parts = [], 0, self.parts + 1
        return rows

    def _put_together(self) -> None:
        if self.new:
            self.tables.append(pa.concat_tables(self.new).combine_chunks())
            self.new = []


@dataclass(kw_only=True)
class _ShardWriter:
    """Collects a shard's results and writes each part as soon as it is full."""

    shard: Shard
    store: str
    files: list[FileEntry] = field(default_factory=list)
    contents: Contents = field(default_factory=Contents)
    used: set[int] = field(default_factory=set)
    """The recordings with a stored sequence."""
    splits: dict[str, _Rows] = field(default_factory=dict)
    lost: list[Quarantined] = field(default_factory=list)
    lost_parts: int = 0
    with_loss: list[int] = field(default_factory=list)
    """The recording of each quarantined sequence or rest."""

    def add(self, recording: int, result: MotionSequence | Quarantined) -> None:
        if isinstance(result, Quarantined):
            self.with_loss.append(recording)
            self.lost.append(result)
            if len(self.lost) == _QUARANTINE_ROWS:
                self._write_lost()
            return
        split = result.source.split_of(result.subject)
        rows = self.splits.setdefault(split, _Rows())
        rows.add(segment_rows(result))
        digest = content_digest(result)
        self.contents.add(Stored(sequence_id=result.sequence_id, split=split, recording=recording, digest=digest))
        self.used.add(recording)
        if rows.bytes >= PART_BYTES:
            self._write_rows(split)

    def finish(self) -> ShardReport:
        for split in self.splits:
            self._write_rows(split)
        self._write_lost()
        return ShardReport(
            source=self.shard.source,
            recordings=len(self.shard.recordings),
            quarantined=len(self.shard.recordings) - len(self.used),
            quarantined_sequences=sum(recording in self.used for recording in self.with_loss),
            splits={split: rows.counts for split, rows in sorted(self.splits.items())},
            files=tuple(sorted(self.files, key=lambda entry: entry.path)),
            contents=self.contents.write(self.store, self.shard.id),
        )

    def _write_rows(self, split: str) -> None:
        rows = self.splits[split]
        if rows.bytes:
            folder = partition(self.shard.source.name, split)
            path = f"{folder}/part-{self.shard.id}-{rows.parts:04}.parquet"
            self.files.append(write_part(self.store, path, rows.take()))

    def _write_lost(self) -> None:
        if self.lost:
            table = pa.Table.from_pylist([each.row() for each in self.lost], schema=QUARANTINE)
            path = f"_quarantine/part-{self.shard.id}-{self.lost_parts:04}.parquet"
            self.files.append(write_part(self.store, path, table))
            self.lost, self.lost_parts = [], self.lost_parts + 1
