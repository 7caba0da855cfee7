"""Leave out sequences that repeat another one of the store: the same motion twice counts twice in training.

Of a group with the same content the first by ``source/sequence_id`` stays; the others move to the quarantine table,
which names the one that stayed. Which that is depends on what is in the store, not on which shard came first, so a
store that was extended or resumed holds what it would hold if it had been made at once.

A shard that loses a sequence gets new parts under new names, then a new report, and only then are the old parts
deleted: killed at any moment, the shard is either as before or as after.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import fsspec
import numpy as np
import pyarrow as pa

from datasets.extraction import Lost, count_rows
from datasets.manifest import FileEntry, SplitCounts
from datasets.shards import Shard, ShardReport, Stored, write_report
from datasets.store import QUARANTINE, SEGMENTS, partition, read_part, write_part

Place = tuple[int, int]
"""A shard, and one of its contents."""


def copies(reports: Sequence[ShardReport]) -> list[list[Place]]:
    """Return the groups of sequences with the same content, each with the one that stays first."""
    by_content: dict[str, list[Place]] = {}
    for shard, report in enumerate(reports):
        for number, entry in enumerate(report.contents):
            by_content.setdefault(entry.digest, []).append((shard, number))

    def order(place: Place) -> tuple[str, int, int]:
        return _name(reports, place), *place

    groups = [sorted(group, key=order) for group in by_content.values() if len(group) > 1]
    return sorted(groups, key=lambda group: order(group[0]))


def names(reports: Sequence[ShardReport], groups: Sequence[Sequence[Place]]) -> tuple[tuple[str, ...], ...]:
    """Return groups of places as groups of ``source/sequence_id``."""
    return tuple(tuple(_name(reports, place) for place in group) for group in groups)


def _name(reports: Sequence[ShardReport], place: Place) -> str:
    report = reports[place[0]]
    return f"{report.source}/{report.contents[place[1]].sequence_id}"


def leave_out_copies(store: str, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> list[ShardReport]:
    """Rewrite the shards that hold copies, and return the reports as they are then."""
    to_leave_out: dict[int, dict[int, str]] = {}
    for first, *others in copies(reports):
        for shard, number in others:
            if reports[shard].contents[number].copy_of is None:
                to_leave_out.setdefault(shard, {})[number] = _name(reports, first)
    after = list(reports)
    for shard, originals in sorted(to_leave_out.items()):
        after[shard] = _without(originals, store, shards[shard], reports[shard])
    return after


def _without(originals: dict[int, str], store: str, shard: Shard, report: ShardReport) -> ShardReport:
    contents = [replace(each, copy_of=originals.get(n, each.copy_of)) for n, each in enumerate(report.contents)]
    files, removed = [], dict[str, SplitCounts]()
    for split in report.splits:
        stored = [n for n, each in enumerate(report.contents) if each.split == split and each.copy_of is None]
        leaving = [n in originals for n in stored]
        parts, removed[split] = _rewritten(store, _parts(report, split), leaving)
        files += parts
    lost = [_lost(shard, report.contents[number], original) for number, original in sorted(originals.items())]
    table = pa.Table.from_pylist([each.row() for each in lost], schema=QUARANTINE)
    path = f"quarantine/copies-{shard.id}-{_hash(sorted(originals))}.parquet"
    files += [*(each for each in report.files if each.path.startswith("quarantine/")), write_part(store, path, table)]
    splits = {split: _minus(counts, removed[split]) for split, counts in report.splits.items()}
    result = replace(
        report,
        splits={split: counts for split, counts in splits.items() if counts.sequences},
        files=tuple(sorted(files, key=lambda entry: entry.path)),
        contents=tuple(contents),
    )
    write_report(shard, store, result)
    filesystem, root = fsspec.url_to_fs(store)
    for old in {each.path for each in report.files} - {each.path for each in files}:
        filesystem.rm_file(f"{root}/{old}")
    return result


def _parts(report: ShardReport, split: str) -> list[FileEntry]:
    folder = partition(report.source, split)
    return [entry for entry in report.files if entry.path.startswith(f"{folder}/")]


def _rewritten(store: str, parts: Sequence[FileEntry], leaving: Sequence[bool]) -> tuple[list[FileEntry], SplitCounts]:
    """Return the parts of a split without the sequences that leave, and the counts of these."""
    files, removed, before = [], SplitCounts(), 0
    for entry in parts:
        rows = read_part(store, entry, SEGMENTS)
        sequence_N = np.cumsum(rows["segment"].to_numpy() == 0) - 1 + before
        leaves_N = np.array(leaving)[sequence_N]
        before = int(sequence_N[-1]) + 1
        if not leaves_N.any():
            files.append(entry)
            continue
        removed += count_rows(rows.filter(pa.array(leaves_N)))
        if not leaves_N.all():
            stem = entry.path.removesuffix(".parquet")
            path = f"{stem}-{_hash(np.unique(sequence_N[leaves_N]).tolist())}.parquet"
            files.append(write_part(store, path, rows.filter(pa.array(~leaves_N))))
    return files, removed


def _hash(numbers: Sequence[int]) -> str:
    return hashlib.sha256(repr(list(numbers)).encode()).hexdigest()[:8]


def _lost(shard: Shard, entry: Stored, original: str) -> Lost:
    recording = shard.recordings[entry.recording]
    reason = f"{recording.path}: {entry.sequence_id}: the same motion as {original}, which is stored"
    return Lost(recording=recording, sequence_id=entry.sequence_id, reason=reason)


def _minus(counts: SplitCounts, removed: SplitCounts) -> SplitCounts:
    return SplitCounts(
        sequences=counts.sequences - removed.sequences,
        segments=counts.segments - removed.segments,
        frames=counts.frames - removed.frames,
        frames_3d=counts.frames_3d - removed.frames_3d,
        frames_2d=counts.frames_2d - removed.frames_2d,
        hours=counts.hours - removed.hours,
    )


def namesakes(reports: Sequence[ShardReport]) -> Iterator[str]:
    """Yield, sorted, the names that several stored sequences of one source share."""
    stored = sorted(
        f"{each.source}/{entry.sequence_id}" for each in reports for entry in each.contents if not entry.copy_of
    )
    yield from (name for name, same in groupby(stored) if len(list(same)) > 1)
