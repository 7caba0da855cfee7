"""Leave out sequences that have the same content as another one: duplicates would count twice in training.

In each group of duplicates, the first by ``source/sequence_id`` is kept; the others move to the quarantine table, which
names the one that is kept. The choice depends only on the store's sequences and not on the order in which shards were
done, so a store that was extended or resumed equals one that was made in one run.

A shard that loses a sequence gets new parts under new names, and then a new report: if the job is killed, the shard is
either in its old or in its new state. The old parts are kept until the manifest no longer lists them.

Memory: 40 bytes per sequence, plus the duplicates.

Shapes: N sequences or rows.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from datasets.extraction.plan import read_reports
from datasets.extraction.quarantine import Quarantined, quarantine
from datasets.extraction.shard import Shard
from datasets.extraction.shard_report import Contents, ShardReport, Stored, read_contents, write_report
from datasets.sequences import MotionSequence
from datasets.store.manifest import FileEntry, SplitCounts
from datasets.store.parquet import QUARANTINE, SEGMENTS, count_rows, partition, read_part, write_part


def content_digest(sequence: MotionSequence) -> str:
    """Return a digest of the motion, independent of the sequence's name and of the person's position.

    It covers positions relative to the root, rounded to a millimetre or a tenth of a pixel, the frame rate and the
    missing joints. For a still it also covers the position: two people with few observed joints may look alike by
    chance.
    """
    digest = hashlib.blake2b(f"{sequence.fps:.2f}".encode(), digest_size=16)
    for points_TJC, steps in ((sequence.keypoints_3d_TJC, 1000), (sequence.keypoints_2d_TJC, 10)):
        if points_TJC is None:
            digest.update(b"none")
        else:
            origin_TJC = points_TJC[:, :1] * (len(points_TJC) > 1)
            digest.update(np.round((points_TJC - origin_TJC).astype(np.float64) * steps).astype("<i8").tobytes())
    digest.update((sequence.confidence_TJ > 0).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """The position of a sequence in the contents of its shard."""

    name: str
    """The sequence's ``source/sequence_id``."""
    shard: int
    number: int
    """Index in the shard's contents."""
    is_left_out: bool
    """Whether the sequence was left out before as a duplicate."""


def find_duplicates(store: str, shards: Sequence[Shard]) -> list[list[Place]]:
    """Return the groups of sequences with the same content, those left out before included; the first is kept."""
    groups = _groups(store, shards, lambda report, entry: entry.digest)
    return sorted(_kept_first(group) for group in groups.values())


def _kept_first(group: Sequence[Place]) -> list[Place]:
    """Put the sequence to keep first; one that was left out before is no longer in the store and cannot be kept."""
    first = min((place for place in group if not place.is_left_out), default=min(group))
    return [first, *sorted(place for place in group if place != first)]


def find_name_collisions(store: str, shards: Sequence[Shard]) -> list[str]:
    """Return the names that several stored sequences of one source share."""
    groups = _groups(store, shards, lambda report, entry: None if entry.duplicate_of else _name(report, entry))
    return sorted(groups)


def _groups(
    store: str, shards: Sequence[Shard], key: Callable[[ShardReport, Stored], str | None]
) -> dict[str, list[Place]]:
    """Group the sequences that share a key; a first pass compares hashes, so that few keys are in memory at once."""

    def hashes() -> Iterator[int]:
        for report in read_reports(shards, store):
            for entry in read_contents(store, report):
                if (text := key(report, entry)) is not None:
                    yield _hash(text)

    hashes_N, counts_N = np.unique(np.fromiter(hashes(), dtype=np.uint64), return_counts=True)
    repeated = set(hashes_N[counts_N > 1].tolist())
    groups: dict[str, list[Place]] = {}
    for shard, report in enumerate(read_reports(shards, store) if repeated else ()):
        for number, entry in enumerate(read_contents(store, report)):
            text = key(report, entry)
            if text is not None and _hash(text) in repeated:
                is_left_out = entry.duplicate_of is not None
                place = Place(name=_name(report, entry), shard=shard, number=number, is_left_out=is_left_out)
                groups.setdefault(text, []).append(place)
    return {text: group for text, group in groups.items() if len(group) > 1}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def _name(report: ShardReport, entry: Stored) -> str:
    return f"{report.source}/{entry.sequence_id}"


def leave_out(store: str, shards: Sequence[Shard], groups: Iterable[Sequence[Place]]) -> None:
    """Rewrite the shards that contain duplicates, one after the other."""
    to_leave_out: dict[int, dict[int, str]] = {}
    for first, *others in groups:
        for place in others:
            if not place.is_left_out:
                to_leave_out.setdefault(place.shard, {})[place.number] = first.name
    for shard, originals in sorted(to_leave_out.items()):
        [report] = read_reports([shards[shard]], store)
        _leave_out(originals, store, shards[shard], report)


def _leave_out(originals: dict[int, str], store: str, shard: Shard, report: ShardReport) -> None:
    """``originals`` maps the index of each sequence to leave out to the name of the one that is kept."""
    before = list(read_contents(store, report))
    files = [entry for entry in report.files if entry.path.startswith("_quarantine/")]
    splits: dict[str, SplitCounts] = {}
    for split, counts in report.splits.items():
        stored = [n for n, each in enumerate(before) if each.split == split and each.duplicate_of is None]
        parts, removed = _rewritten(store, _parts(report, split), [n in originals for n in stored])
        files += parts
        if parts:
            splits[split] = counts - removed
    lost = [_lost(shard, before[number], original) for number, original in sorted(originals.items())]
    table = pa.Table.from_pylist([each.row() for each in lost], schema=QUARANTINE)
    name = f"{shard.id}-{_digest(sorted(originals))}"
    files.append(write_part(store, f"_quarantine/duplicates-{name}.parquet", table))
    contents = Contents()
    for number, each in enumerate(before):
        contents.add(replace(each, duplicate_of=originals.get(number, each.duplicate_of)))
    changed = replace(
        report,
        duplicates=report.duplicates + len(originals),
        splits=splits,
        files=tuple(sorted(files, key=lambda entry: entry.path)),
        contents=contents.write(store, name),
    )
    write_report(shard, store, changed)


def _parts(report: ShardReport, split: str) -> list[FileEntry]:
    folder = partition(report.source.name, split)
    return [entry for entry in report.files if entry.path.startswith(f"{folder}/")]


def _rewritten(store: str, parts: Sequence[FileEntry], leaving: Sequence[bool]) -> tuple[list[FileEntry], SplitCounts]:
    """Return the parts of a split without the removed sequences, and the counts of the removed ones."""
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
            path = f"{stem}-{_digest(np.unique(sequence_N[leaves_N]).tolist())}.parquet"
            files.append(write_part(store, path, rows.filter(pa.array(~leaves_N))))
    return files, removed


def _digest(numbers: Sequence[int]) -> str:
    return hashlib.sha256(repr(list(numbers)).encode()).hexdigest()[:8]


def _lost(shard: Shard, entry: Stored, original: str) -> Quarantined:
    recording = shard.recordings[entry.recording]
    reason = f"{recording.path}: {entry.sequence_id}: the same motion as {original}, which is stored"
    return quarantine(recording, reason, entry.sequence_id)
