"""From recordings to parts of the store, one shard at a time: the work of the extract job without the cluster.

Nothing is dropped silently: what a reader or a check refuses goes to the quarantine table with the reason. The files
of a shard are a function of the shard alone, and its report is written after them.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from datasets.checks import check, content_digest
from datasets.manifest import FileEntry, SplitCounts
from datasets.resampling import resample
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError
from datasets.shards import Shard, ShardReport, write_report
from datasets.sources.catalogue import split_of
from datasets.store import QUARANTINE, partition, segment_rows, write_part

# What parsers raise on rubbish bytes. KeyError, IndexError, TypeError and MemoryError are our bugs or our limits.
_RUBBISH = (RecordingError, ValueError, EOFError, ArithmeticError, struct.error, zlib.error, zipfile.BadZipFile)


def extract_shard(shard: Shard, store: str, *, readers: Mapping[str, Reader]) -> ShardReport:
    """Read, resample, check and store the recordings of one shard.

    Raises:
        StoreError: no room left in the store.
        ConnectionError, TimeoutError: the input could not be reached; worth another try.
    """
    outcomes = [extract_recording(each, readers[each.reader], fps=shard.fps) for each in shard.recordings]
    files, splits = _write_segments(shard, store, [sequence for outcome in outcomes for sequence in outcome.kept])
    if lost := [row for outcome in outcomes for row in outcome.lost]:
        table = pa.Table.from_pylist(lost, schema=QUARANTINE)
        files.append(write_part(store, f"quarantine/part-{shard.id}.parquet", table))
    report = ShardReport(
        source=shard.recordings[0].source,
        recordings=len(outcomes),
        quarantined=sum(not outcome.kept for outcome in outcomes),
        quarantined_sequences=sum(len(outcome.lost) for outcome in outcomes if outcome.kept),
        splits=splits,
        files=tuple(files),
        contents=tuple((each.sequence_id, content_digest(each)) for outcome in outcomes for each in outcome.kept),
    )
    write_report(shard, store, report)
    return report


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one recording: the sequences to store, and a quarantine row for whatever was lost."""

    kept: tuple[MotionSequence, ...] = ()
    lost: tuple[dict[str, str | None], ...] = ()


def extract_recording(recording: Recording, reader: Reader, *, fps: float) -> Outcome:
    """Read, check and resample one recording; checked again after, since a short one may have no two frames left.

    A recording that its reader gives up on is lost as a whole, a sequence that fails a check is lost alone.
    """
    try:
        sequences = list(reader.read(recording))
    except (ConnectionError, TimeoutError):  # the network's fault, not the recording's
        raise
    except (*_RUBBISH, OSError) as error:
        return Outcome(lost=(_quarantined(recording, None, error),))
    if not sequences:
        return Outcome(lost=(_quarantined(recording, None, "no sequence in it"),))
    kept, lost = [], []
    for sequence in sequences:
        try:
            kept.append(check(resample(check(sequence), fps)))
        except RecordingError as error:
            lost.append(_quarantined(recording, sequence.sequence_id, error))
    return Outcome(kept=tuple(kept), lost=tuple(lost))


def _quarantined(recording: Recording, sequence_id: str | None, reason: Exception | str) -> dict[str, str | None]:
    foreseen = isinstance(reason, RecordingError | str)
    return {
        "path": recording.path,
        "reader": recording.reader,
        "source": recording.source,
        "sequence_id": sequence_id,
        "reason": str(reason) if foreseen else f"{recording.path}: {type(reason).__name__}: {reason}",
    }


def _write_segments(
    shard: Shard, store: str, sequences: Iterable[MotionSequence]
) -> tuple[list[FileEntry], dict[str, SplitCounts]]:
    by_split: dict[str, list[MotionSequence]] = {}
    for sequence in sequences:
        by_split.setdefault(split_of(sequence.source, sequence.subject), []).append(sequence)
    files, splits = [], {}
    for split, members in sorted(by_split.items()):
        rows = pa.concat_tables([segment_rows(sequence) for sequence in members])
        files.append(write_part(store, f"{partition(members[0].source, split)}/part-{shard.id}.parquet", rows))
        splits[split] = replace(sum(map(_count, members), SplitCounts()), segments=len(rows))
    return files, splits


def _count(sequence: MotionSequence) -> SplitCounts:
    frames = sequence.num_frames
    return SplitCounts(
        sequences=1,
        frames=frames,
        frames_3d=frames if sequence.keypoints_3d_TJC is not None else 0,
        frames_2d=frames if sequence.keypoints_2d_TJC is not None else 0,
        hours=frames / sequence.fps / 3600,
    )
