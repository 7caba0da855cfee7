"""Which work an extraction is made of, what is done of it, and the manifest that closes it.

A shard is a fixed set of recordings (at most 64 MB or 64 recordings, of one reader and source) named by a hash of
what goes into it. Its files carry that name, so that a shard can be done anywhere, again, in any order, with the same
bytes as result. Its report, written last, says that it is done: a restart does only what has no report. The manifest
is made of all reports once there is one for every shard.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import fsspec

from datasets.manifest import MANIFEST, FileEntry, Manifest, SourceEntry, SplitCounts, StoreError
from datasets.sequences import Recording, Source
from datasets.sources.catalogue import SOURCES
from datasets.store import SEGMENT_FRAMES, write_whole

SHARD_BYTES = 64 * 2**20
SHARD_RECORDINGS = 64
_REPORTS = "_shards"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Recordings of one reader and source that are extracted together."""

    recordings: tuple[Recording, ...]
    fps: float

    @property
    def id(self) -> str:
        """16 hex digits: a function of the recordings' paths and sizes and of the settings."""
        settings = {"fps": self.fps, "segment_frames": SEGMENT_FRAMES}
        described = json.dumps(settings | {"recordings": [asdict(recording) for recording in self.recordings]})
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the shard as text: what travels to the workers."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Shard":
        """Read what ``to_json`` wrote."""
        raw = json.loads(text)
        recordings = (Recording(**(each | {"companions": tuple(each["companions"])})) for each in raw["recordings"])
        return cls(recordings=tuple(recordings), fps=raw["fps"])


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard; its presence in the store says that the shard's files are there."""

    source: str
    recordings: int
    quarantined: int
    quarantined_sequences: int
    splits: Mapping[str, SplitCounts]
    files: tuple[FileEntry, ...]
    contents: tuple[tuple[str, str], ...]
    """(sequence_id, content digest) of every stored sequence."""

    @classmethod
    def from_json(cls, text: str | bytes) -> "ShardReport":
        """Read what the shard wrote."""
        raw = json.loads(text)
        return cls(
            **raw
            | {
                "splits": {split: SplitCounts(**counts) for split, counts in raw["splits"].items()},
                "files": tuple(FileEntry(**entry) for entry in raw["files"]),
                "contents": tuple((sequence_id, digest) for sequence_id, digest in raw["contents"]),
            }
        )


def plan(recordings: Iterable[Recording], *, fps: float) -> list[Shard]:
    """Group recordings into shards; the same recordings give the same shards in whatever order they come."""

    def kind(recording: Recording) -> tuple[str, str]:
        return recording.source, recording.reader

    ordered = sorted(set(recordings), key=lambda recording: (*kind(recording), recording.path))
    groups = (_filled(group) for _, group in groupby(ordered, key=kind))
    return [Shard(recordings=tuple(batch), fps=fps) for batches in groups for batch in batches]


def _filled(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    batch: list[Recording] = []
    for recording in recordings:
        full = sum(each.size for each in batch) + recording.size > SHARD_BYTES or len(batch) == SHARD_RECORDINGS
        if batch and full:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


def unfinished(shards: Sequence[Shard], store: str) -> list[Shard]:
    """Return the shards that are still to do: their report, or a file that it lists, is not in the store.

    Raises:
        StoreError: the store holds shards of another extraction, which this one would mix with.
    """
    sizes = _sizes(store)
    if "" in sizes:
        raise StoreError(f"{store}: expected a folder for the store, found a file. Name another --store.")
    reports = [path for path in sizes if path.startswith(f"{_REPORTS}/")]
    foreign = set(reports) - {_report_path(shard) for shard in shards}
    if foreign:
        raise StoreError(
            f"{store}: expected an empty place or a part of this very extraction, found {len(foreign)} shards made "
            "from other recordings or settings. Name another --store, or delete this one."
        )
    begun = [shard for shard in shards if _report_path(shard) in sizes]
    done = {
        shard.id
        for shard, report in zip(begun, read_reports(begun, store), strict=True)
        if all(sizes.get(entry.path) == entry.bytes for entry in report.files)
    }
    return [shard for shard in shards if shard.id not in done]


def _sizes(store: str) -> dict[str, int]:
    """Path inside the store and size of every file that is there."""
    filesystem, root = fsspec.url_to_fs(store)
    filesystem.invalidate_cache()
    found = filesystem.find(root, detail=True)
    return {path[len(root) :].lstrip("/"): int(entry["size"]) for path, entry in found.items()}


def read_reports(shards: Sequence[Shard], store: str) -> list[ShardReport]:
    """Read the reports of finished shards, in order."""
    filesystem, _ = fsspec.url_to_fs(store)
    paths = [fsspec.url_to_fs(f"{store}/{_report_path(shard)}")[1] for shard in shards]
    texts = filesystem.cat(paths) if paths else {}
    return [ShardReport.from_json(texts[path]) for path in paths]


def write_report(shard: Shard, store: str, report: ShardReport) -> None:
    """Say that a shard is done: the last thing that is written of it."""
    write_whole(f"{store}/{_report_path(shard)}", json.dumps(asdict(report)).encode())


def _report_path(shard: Shard) -> str:
    return f"{_REPORTS}/{shard.id}.json"


def finish(shards: Sequence[Shard], store: str, *, command: str, licence: str | None = None) -> Manifest:
    """Write the manifest: from now on the folder is a store.

    ``licence`` is stated for the sources whose licence the catalogue does not know.
    """
    reports = read_reports(shards, store)
    by_source: dict[str, list[ShardReport]] = {}
    for report in reports:
        by_source.setdefault(report.source, []).append(report)
    manifest = Manifest(
        fps=shards[0].fps,
        command=command,
        sources={name: _entry(SOURCES[name], members, licence) for name, members in sorted(by_source.items())},
        files=tuple(sorted((entry for report in reports for entry in report.files), key=lambda entry: entry.path)),
        duplicates=_duplicates(reports),
    )
    write_whole(f"{store}/{MANIFEST}", manifest.to_json().encode())
    return manifest


def _entry(source: Source, reports: Sequence[ShardReport], licence: str | None) -> SourceEntry:
    splits: dict[str, SplitCounts] = {}
    for report in reports:
        for split, counts in report.splits.items():
            splits[split] = splits.get(split, SplitCounts()) + counts
    return SourceEntry(
        kind=source.kind,
        licence=licence if licence and not has_licence(source.name) else source.licence,
        url=source.url,
        labels=source.labels,
        recordings=sum(report.recordings for report in reports),
        quarantined=sum(report.quarantined for report in reports),
        quarantined_sequences=sum(report.quarantined_sequences for report in reports),
        splits=splits,
    )


def has_licence(source: str) -> bool:
    """Whether the catalogue knows the terms of a source."""
    return not SOURCES[source].licence.startswith("unknown")


def _duplicates(reports: Sequence[ShardReport]) -> tuple[tuple[str, ...], ...]:
    """Group the sequences of one content, and the names that several recordings claim.

    They are reported, not dropped: a shard knows nothing of the others, and which copy stays must not depend on which
    shard came first.
    """
    by_content: dict[str, list[str]] = {}
    by_name: dict[str, list[str]] = {}
    for report in reports:
        for sequence_id, digest in report.contents:
            name = f"{report.source}/{sequence_id}"
            by_content.setdefault(digest, []).append(name)
            by_name.setdefault(name, []).append(name)
    groups = {tuple(sorted(group)) for group in (*by_content.values(), *by_name.values()) if len(group) > 1}
    return tuple(sorted(groups))
