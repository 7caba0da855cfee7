"""Close an extraction: leave out copies, sweep what a kill left behind, write the manifest that makes it a store."""

from collections.abc import Sequence

import fsspec

from datasets.copies import copies, leave_out_copies, names, namesakes
from datasets.manifest import MANIFEST, Manifest, SourceEntry, SplitCounts
from datasets.plans import Plan, read_plans, read_reports, stored_sizes
from datasets.sequences import Source
from datasets.shards import Shard, ShardReport
from datasets.sources.catalogue import SOURCES, has_licence
from datasets.store import write_whole

_PARTS = ("source=", "quarantine/")


def finish(store: str) -> Manifest:
    """Write the manifest of a store of which every shard is done."""
    plans = read_plans(store)
    shards = [shard for plan in plans for shard in plan.shards]
    reports = leave_out_copies(store, shards, read_reports(shards, store))
    by_source: dict[str, list[ShardReport]] = {}
    for report in reports:
        by_source.setdefault(report.source, []).append(report)
    manifest = Manifest(
        fps=shards[0].fps,
        command="\n".join(plan.command for plan in plans),
        sources={
            name: _entry(SOURCES[name], members, stated_licence(name, plans))
            for name, members in sorted(by_source.items())
        },
        files=tuple(sorted((entry for report in reports for entry in report.files), key=lambda entry: entry.path)),
        duplicates=names(reports, copies(reports)),
        namesakes=tuple(namesakes(reports)),
    )
    _sweep(store, shards, manifest)
    write_whole(f"{store}/{MANIFEST}", manifest.to_json().encode())
    return manifest


def stated_licence(source: str, plans: Sequence[Plan]) -> str:
    """Return the terms of a source: its makers', else what the user stated when its recordings came."""
    if has_licence(source):
        return SOURCES[source].licence
    stated = dict.fromkeys(
        plan.licence
        for plan in plans
        if plan.licence and any(shard.recordings[0].source == source for shard in plan.shards)
    )
    return "; ".join(stated) or SOURCES[source].licence


def _entry(source: Source, reports: Sequence[ShardReport], licence: str) -> SourceEntry:
    splits: dict[str, SplitCounts] = {}
    for report in reports:
        for split, counts in report.splits.items():
            splits[split] = splits.get(split, SplitCounts()) + counts
    return SourceEntry(
        kind=source.kind,
        licence=licence,
        url=source.url,
        labels=source.labels,
        recordings=sum(report.recordings for report in reports),
        quarantined=sum(report.quarantined for report in reports),
        quarantined_sequences=sum(report.quarantined_sequences for report in reports),
        copies=sum(entry.copy_of is not None for report in reports for entry in report.contents),
        splits=splits,
    )


def _sweep(store: str, shards: Sequence[Shard], manifest: Manifest) -> None:
    """Delete parts and reports that nothing lists any more: a shard was killed between writing and saying so."""
    listed = {entry.path for entry in manifest.files} | {shard.report_path for shard in shards}
    filesystem, root = fsspec.url_to_fs(store)
    for path in stored_sizes(store).keys() - listed:
        if path.startswith(_PARTS) and path.endswith(".parquet"):
            filesystem.rm_file(f"{root}/{path}")
