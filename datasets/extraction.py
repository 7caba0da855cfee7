"""From recordings to parts of the store, one shard at a time: the work of the extract job without the cluster.

Sequences are read, checked and written one after the other, so that a recording may be far larger than memory as long
as its reader streams: what is held are one sequence and the rows of one part per split, 64 MB. The files of a shard are
a function of the shard alone, and its report is written after them.

Nothing is dropped silently. What a check refuses goes to the quarantine table with the reason. Where a reader gives up,
what it yielded before stands, and the rest of the recording is in quarantine.
"""

import logging
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from datasets.checks import check, content_digest
from datasets.files import is_transient
from datasets.manifest import FileEntry, SplitCounts
from datasets.resampling import resample
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError
from datasets.shards import Contents, Shard, ShardReport, Stored, write_report
from datasets.sources.catalogue import split_of
from datasets.store import QUARANTINE, partition, segment_rows, write_part

log = logging.getLogger(__name__)

PART_BYTES = 64 * 2**20
"""Rows of a part in memory; about two thirds of it on disk. A sequence is never divided between parts."""
_QUARANTINE_ROWS = 10_000
_TOGETHER = 256
_MAX_REASON = 2000
"""Characters: a reason that quotes a number of a million digits is cut."""
# What parsers raise on rubbish bytes.
_RUBBISH = (
    RecordingError,
    ValueError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    OSError,
)
# What a reader with a bug raises. It costs the recording, not the hours of work on all others.
_BUGS = (LookupError, TypeError, AttributeError, AssertionError, RuntimeError, SystemError, BufferError)


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A row of the quarantine table: a sequence, or what is left of a recording."""

    recording: Recording
    sequence_id: str | None
    reason: str

    def row(self) -> dict[str, str | None]:
        """Return the row."""
        return {
            "path": plain(self.recording.path),
            "reader": self.recording.reader,
            "source": self.recording.source,
            "sequence_id": self.sequence_id,
            "reason": self.reason,
        }


def plain(text: str) -> str:
    """Spell out the characters that a table cannot hold or a terminal would obey.

    These are halves of surrogate pairs, which stand for bytes of a file name that are no UTF-8 and which JSON may have
    anywhere, and control characters.
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


def extract_shard(shard: Shard, store: str, *, readers: Mapping[str, Reader]) -> ShardReport:
    """Read, resample, check and store the recordings of one shard.

    Raises:
        StoreError: no room left in the store.
        ConnectionError, TimeoutError: the input could not be reached; worth another try.
    """
    writer = _ShardWriter(shard=shard, store=store)
    for number, recording in enumerate(shard.recordings):
        for result in extract_recording(recording, readers[recording.reader], fps=shard.fps):
            writer.add(number, result)
    report = writer.finish()
    write_report(shard, store, report)
    return report


def extract_recording(recording: Recording, reader: Reader, *, fps: float) -> Iterator[MotionSequence | Lost]:
    """Read, check and resample one recording, a sequence at a time; at least one result.

    Checked again after resampling, since a short one may have no two frames left.
    """
    results = 0
    for sequence in read_sequences(recording, reader):
        results += 1
        if isinstance(sequence, Lost):
            yield sequence
            continue
        try:
            with np.errstate(all="ignore"):
                checked = check(sequence)
                resampled = resample(checked, fps)
                if resampled is not checked:
                    resampled = check(resampled)
        except RecordingError as error:
            yield _lost(recording, str(error), sequence.sequence_id)
        else:
            yield resampled
    if not results:
        yield _lost(recording, f"{recording.path}: no sequence in it")


def read_sequences(recording: Recording, reader: Reader) -> Iterator[MotionSequence | Lost]:
    """Yield what the reader yields; where it gives up, the reason.

    Raises:
        ConnectionError, TimeoutError: the network's fault, not the recording's.
    """
    try:
        for sequence in _quietly(reader.read(recording)):
            yield _with_plain_names(sequence)
    except (ConnectionError, TimeoutError):
        raise
    except RecordingError as error:
        yield _lost(recording, str(error))
    except MemoryError as error:
        yield _lost(recording, f"{recording.path}: needs more memory than this machine has: {error}")
    except _RUBBISH as error:
        if is_transient(error):
            raise ConnectionError(f"{recording.path}: {error}") from error
        yield _lost(recording, f"{recording.path}: {type(error).__name__}: {error}")
    except _BUGS as error:
        log.exception("%s: the reader %s has a bug", recording.path, recording.reader)
        bug = f"a bug in the reader {recording.reader}, please report: {type(error).__name__}: {error}"
        yield _lost(recording, f"{recording.path}: {bug}")


def _quietly(sequences: Iterator[MotionSequence]) -> Iterator[MotionSequence]:
    """Damaged numbers overflow, and numpy need not warn: the checks find what is infinite or no number then."""
    while True:
        with np.errstate(all="ignore"):
            sequence = next(sequences, None)
        if sequence is None:
            return
        yield sequence


def _with_plain_names(sequence: MotionSequence) -> MotionSequence:
    return replace(
        sequence,
        sequence_id=plain(sequence.sequence_id),
        subject=plain(sequence.subject),
        action=None if sequence.action is None else plain(sequence.action),
        view=None if sequence.view is None else plain(sequence.view),
        repairs=tuple(plain(each) for each in sequence.repairs),
    )


def _lost(recording: Recording, reason: str, sequence_id: str | None = None) -> Lost:
    reason = plain(reason)
    cut = f"{reason[:_MAX_REASON]} ..." if len(reason) > _MAX_REASON else reason
    return Lost(recording=recording, sequence_id=sequence_id, reason=cut)


@dataclass(kw_only=True)
class _Rows:
    """Rows of one split that wait for their part to be full.

    Each small table costs 10 kB beside its values, so they are put together 256 at a time.
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
        """Return the rows of the part, and begin another."""
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
    """Collects a shard's results and writes them in parts as soon as these are full."""

    shard: Shard
    store: str
    files: list[FileEntry] = field(default_factory=list)
    contents: Contents = field(default_factory=Contents)
    used: set[int] = field(default_factory=set)
    """The recordings of which something is stored."""
    splits: dict[str, _Rows] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    lost_parts: int = 0
    with_loss: list[int] = field(default_factory=list)
    """The recording of each loss."""

    def add(self, recording: int, result: MotionSequence | Lost) -> None:
        if isinstance(result, Lost):
            self.with_loss.append(recording)
            self.lost.append(result)
            if len(self.lost) == _QUARANTINE_ROWS:
                self._write_lost()
            return
        split = split_of(result.source, result.subject)
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
            source=self.shard.recordings[0].source,
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
            folder = partition(self.shard.recordings[0].source, split)
            path = f"{folder}/part-{self.shard.id}-{rows.parts:04}.parquet"
            self.files.append(write_part(self.store, path, rows.take()))

    def _write_lost(self) -> None:
        if self.lost:
            table = pa.Table.from_pylist([each.row() for each in self.lost], schema=QUARANTINE)
            path = f"_quarantine/part-{self.shard.id}-{self.lost_parts:04}.parquet"
            self.files.append(write_part(self.store, path, table))
            self.lost, self.lost_parts = [], self.lost_parts + 1


def count_rows(rows: pa.Table) -> SplitCounts:
    """Count whole sequences: rows that follow ``store.SEGMENTS``."""
    frames = rows["num_frames"].to_numpy()
    seconds = frames / rows["fps"].to_numpy()
    return SplitCounts(
        sequences=int((rows["segment"].to_numpy() == 0).sum()),
        segments=len(rows),
        frames=int(frames.sum()),
        frames_3d=int(frames[rows["keypoints_3d"].is_valid().to_numpy()].sum()),
        frames_2d=int(frames[rows["keypoints_2d"].is_valid().to_numpy()].sum()),
        hours=float(seconds.sum()) / 3600,
    )
