"""Inspect and maintain stores: list the contents, verify the files, merge several stores, write the report again."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from datasets.extraction.merge import merge
from datasets.report.messages import format_duration, make_printable
from datasets.report.report import REPORT_HTML, write_report
from datasets.report.table import table
from datasets.store.manifest import Manifest
from datasets.store.parquet import open_store
from pipelines.runtime.cli import parse, run_job
from pipelines.runtime.paths import absolute

log = logging.getLogger(__name__)

Url = Annotated[str, tyro.conf.Positional]
Urls = Annotated[tuple[str, ...], tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class ListStore:
    """List the contents of a store: sources, splits, numbers of sequences and frames, licences."""

    store: Url
    """Folder or URL of the store."""


@dataclass(frozen=True, kw_only=True)
class VerifyStore:
    """Verify a store: read every file and compare its digest with the one in the manifest."""

    store: Url
    """Folder or URL of the store."""


@dataclass(frozen=True, kw_only=True)
class MergeStores:
    """Merge several stores into a new one, without duplicate sequences. The merged stores are not changed."""

    stores: Urls
    """Folders or URLs of the stores to merge, at least two."""
    into: str
    """Folder or URL of the new store. If it is unfinished, merging is resumed."""


@dataclass(frozen=True, kw_only=True)
class ReportStore:
    """Measure a store again: print a summary, and write report.json and report.html into the store."""

    store: Url
    """Folder or URL of the store."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """The command to run, with its options."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[ListStore, tyro.conf.subcommand("list")]
        | Annotated[VerifyStore, tyro.conf.subcommand("verify")]
        | Annotated[MergeStores, tyro.conf.subcommand("merge")]
        | Annotated[ReportStore, tyro.conf.subcommand("report")]
    ]


def run(config: StoreConfig) -> None:
    """Run the command.

    Raises:
        StoreError: a store is missing or damaged, or cannot be merged.
    """
    match config.command:
        case ListStore(store=url):
            log.info("%s", listing(open_store(absolute(url)).manifest))
        case VerifyStore(store=url):
            store = open_store(absolute(url))
            store.verify()
            log.info("%s: all %d files match the manifest (digest %s)", url, len(store.files()), store.manifest.digest)
        case MergeStores(stores=urls, into=into):
            place = absolute(into).rstrip("/")
            merge([absolute(url).rstrip("/") for url in urls], place)
            log.info("%s", table(write_report(place), place))
        case ReportStore(store=url):
            place = absolute(url).rstrip("/")
            log.info("%s\nReport: %s/%s", table(write_report(place), place), place, REPORT_HTML)


def listing(manifest: Manifest) -> str:
    """Return the sources of a store with kind and licence, and a line for each of their splits."""
    lines = [f"digest {manifest.digest}, {manifest.fps:g} Hz, {len(manifest.files)} files"]
    for name, entry in manifest.sources.items():
        lines.append(f"{make_printable(name)} ({entry.kind}): {make_printable(entry.licence)}")
        for split, counts in entry.splits.items():
            held = f"{counts.sequences:,} sequences, {counts.frames:,} frames, {format_duration(counts.hours)}"
            lines.append(f"  {split}: {held}, {counts.frames_3d:,} in 3D, {counts.frames_2d:,} in 2D")
    return "\n".join(lines)


def configure(arguments: Sequence[str]) -> StoreConfig:
    """Parse the command line."""
    return parse(StoreConfig, __doc__ or "", arguments)


if __name__ == "__main__":
    run_job(run, configure)
