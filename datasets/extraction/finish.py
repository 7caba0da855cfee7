"""Finish an extraction: leave out duplicates, write the manifest, then delete the files that it does not list.

At any moment there is one complete store, the old one or the new one.
"""

import re
from collections.abc import Sequence, Set
from dataclasses import replace

from datasets.extraction.duplicates import find_duplicates, find_name_collisions, leave_out
from datasets.extraction.plan import Plan, find_unfinished, list_stored_sizes, read_plans, read_reports, stated_licences
from datasets.extraction.shard import WORK
from datasets.extraction.shard_report import ShardReport
from datasets.files import url_to_fs
from datasets.sequences import Source
from datasets.store.manifest import MANIFEST, FileEntry, Manifest, SourceEntry, SplitCounts, StoreError
from datasets.store.parquet import write_whole

_SWEPT = ("source=", "_quarantine/", f"{WORK}/")
_PLANS = f"{WORK}/plan-"
_ASIDE = re.compile(r"\.[0-9a-f]{32}\..+")
"""Name of a temporary file in the store's top folder."""


def finish(store: str) -> Manifest:
    """Write the manifest of a store whose shards are all done.

    Raises:
        StoreError: Some shards are not done, because another extraction is adding to the store.
    """
    plans = read_plans(store)
    shards = [shard for plan in plans for shard in plan.shards]
    if to_do := find_unfinished(shards, store):
        raise StoreError(
            f"{store}: expected all {len(shards)} shards to be done, found {len(to_do)} that are not: another "
            "extraction is running, or was stopped. When it has ended, run the same command again."
        )
    duplicates = find_duplicates(store, shards)
    leave_out(store, shards, duplicates)
    files: list[FileEntry] = []
    listed = {shard.report_path for shard in shards}
    sources: dict[str, SourceEntry] = {}
    for report in read_reports(shards, store):
        files += report.files
        listed |= {report.contents.path}
        before = sources.get(report.source.name) or _empty(report.source, plans)
        sources[report.source.name] = _with(before, report)
    manifest = Manifest(
        fps=shards[0].fps,
        command="\n".join(plan.command for plan in plans),
        sources=dict(sorted(sources.items())),
        files=tuple(sorted(files, key=lambda entry: entry.path)),
        duplicates=tuple(tuple(place.name for place in group) for group in duplicates),
        name_collisions=tuple(find_name_collisions(store, shards)),
    )
    write_whole(f"{store}/{MANIFEST}", manifest.to_json().encode())
    _sweep(store, listed | {entry.path for entry in files})
    return manifest


def _empty(source: Source, plans: Sequence[Plan]) -> SourceEntry:
    return SourceEntry(
        kind=source.kind,
        licence="; ".join(stated_licences(source.name, plans)) or source.terms,
        url=source.url,
        labels=source.labels,
        recordings=0,
        quarantined=0,
        quarantined_sequences=0,
        splits={},
    )


def _with(entry: SourceEntry, report: ShardReport) -> SourceEntry:
    splits = sorted({*entry.splits, *report.splits})
    return replace(
        entry,
        recordings=entry.recordings + report.recordings,
        quarantined=entry.quarantined + report.quarantined,
        quarantined_sequences=entry.quarantined_sequences + report.quarantined_sequences,
        duplicates=entry.duplicates + report.duplicates,
        splits={
            split: entry.splits.get(split, SplitCounts()) + report.splits.get(split, SplitCounts()) for split in splits
        },
    )


def _sweep(store: str, listed: Set[str]) -> None:
    """Delete files that the manifest does not list: rewritten parts, and temporary files of killed jobs."""
    filesystem, root = url_to_fs(store)
    for path in list_stored_sizes(store).keys() - listed:
        if (path.startswith(_SWEPT) and not path.startswith(_PLANS)) or _ASIDE.fullmatch(path):
            filesystem.rm_file(f"{root}/{path}")
