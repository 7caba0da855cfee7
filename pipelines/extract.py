"""Extract recordings into a Parquet store, in parallel on Ray Data.

Reads every recording that it finds below the inputs, resamples to one frame rate, checks, and writes the store. What
cannot be used goes to the store's quarantine table with the reason; the job goes on, and fails at the end if more than
a stated share fell out. Streams: memory stays flat however large the input. Stopped half-way, the same command goes on
where it stopped.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import ray.data
import tyro

from datasets.checks import CheckLimits
from datasets.extraction import extract_shard
from datasets.files import list_files
from datasets.manifest import Manifest, SourceEntry, StoreError
from datasets.sequences import Recording
from datasets.shards import Shard, finish, has_licence, plan, unfinished
from datasets.sources import READERS, find_recordings, procedural
from datasets.store import open_store
from pipelines.cluster import connect
from pipelines.command_line import parse, run_job
from pipelines.places import absolute
from pipelines.progress import progress_bar

log = logging.getLogger(__name__)

_SHOWN = 5
_RETRIES = 3
_WORTH_ANOTHER_TRY = [r"Connection\w*Error", "TimeoutError"]


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """What to extract, and where to."""

    input: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Folder, file or URL (s3://, ...) of recordings, or procedural://?people=...; may be given several times."""
    store: str
    """Folder or URL of the store; one that is unfinished is resumed."""
    fps: float = 30.0
    """Frame rate of the store; sequences are resampled to it."""
    max_quarantined: float = 0.1
    """Largest share of recordings, or of sequences, that may be quarantined before the job counts as failed."""
    licence: str | None = None
    """Terms of the recordings whose source does not state its own."""

    def __post_init__(self) -> None:
        if not self.input:
            raise ValueError("input: expected at least one folder, file or URL; pass --input")
        low, high = CheckLimits().fps
        if not low < self.fps < high:
            raise ValueError(f"fps: expected between {low:g} and {high:g}, found {self.fps}")
        if not 0 <= self.max_quarantined <= 1:
            raise ValueError(f"max_quarantined: expected a share from 0 to 1, found {self.max_quarantined}")

    @property
    def command(self) -> str:
        """What to type for the same extraction."""
        words = ["python", "-m", "pipelines.extract"]
        words += [word for url in self.input for word in ("--input", url)]
        words += ["--store", self.store, "--fps", f"{self.fps:g}"]
        return shlex.join(words + (["--licence", self.licence] if self.licence else []))


class TooMuchQuarantinedError(ValueError):
    """More than the stated share of the input could not be used. The store is complete without it."""


def extract(config: ExtractConfig) -> Manifest:
    """Extract, write the manifest, and report.

    Raises:
        ValueError: no recordings in the input, a store of other recordings, no room, or an option without effect.
        TooMuchQuarantinedError: the store is there, but too much is missing from it.
    """
    store = absolute(config.store).rstrip("/")
    shards = plan(_recordings(config, store), fps=config.fps)
    to_do = unfinished(shards, store)
    log.info("%d of %d shards are to do in %s", len(to_do), len(shards), store)
    if to_do:
        _run(to_do, store)
    manifest = finish(shards, store, command=config.command, licence=config.licence)
    log.info("%s", report(manifest, open_store(store).quarantine(), store))
    _judge(manifest, store, config.max_quarantined)
    return manifest


def _recordings(config: ExtractConfig, store: str) -> list[Recording]:
    recordings = [recording for url in config.input for recording in _recordings_of(absolute(url), store)]
    sources = {recording.source for recording in recordings}
    unstated = sorted(source for source in sources if not has_licence(source))
    if config.licence and not unstated:
        raise ValueError(f"--licence has no effect: {', '.join(sorted(sources))} state their own. Leave it out.")
    if unstated and not config.licence:
        log.warning("licence of %s is unknown; state it with --licence", ", ".join(unstated))
    return recordings


def _recordings_of(url: str, store: str) -> list[Recording]:
    if url.startswith("procedural://"):
        return procedural.READER.recordings(url)
    files = [file for file in list_files(url) if not file.path.startswith(f"{store}/")]  # the store may lie inside
    recordings, unknown = find_recordings(files)
    if unknown:
        some = ", ".join(file.path for file in unknown[:_SHOWN])
        log.warning("%s: %d files left alone, in no format that is known: %s", url, len(unknown), some)
    if not recordings:
        raise ValueError(
            f"{url}: expected recordings in a known format ({', '.join(READERS)}), found none, and {len(unknown)} "
            "files that look like data. Name the folder of the recordings."
        )
    return recordings


def _run(shards: Sequence[Shard], store: str) -> None:
    connect()
    context = ray.data.DataContext.get_current()
    context.retried_map_errors, context.max_map_retries = _WORTH_ANOTHER_TRY, _RETRIES
    context.enable_progress_bars = False  # one of our own: shards done of shards to do
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that we switched its bars off
    bar = progress_bar("extract", len(shards), unit="shard", on_terminal=sys.stderr.isatty())
    items = ray.data.from_items([{"shard": shard.to_json()} for shard in shards], override_num_blocks=len(shards))
    for done in items.map(partial(_extract, store=store)).iter_rows():
        if done["error"]:
            raise StoreError(done["error"])
        bar.update(1)
    bar.close()


def _extract(row: dict[str, str], store: str) -> dict[str, str]:
    """Do one shard. A full disk comes back as a message: Ray would bury it in the trace of its own layers."""
    try:
        extract_shard(Shard.from_json(row["shard"]), store, readers=READERS)
    except StoreError as error:
        return {"error": str(error)}
    return {"error": ""}


def report(manifest: Manifest, quarantine: Sequence[Mapping[str, str | None]], store: str) -> str:
    """Return what was made and what was lost, as a table and the first reasons."""
    rows = [("source", "recordings", "quarantined", "sequences", "frames", "hours")]
    rows += [_row(name, entry) for name, entry in manifest.sources.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"Store {store} (digest {manifest.digest[:16]}):"]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    if quarantine:
        lines += [f"Quarantined, {len(quarantine)} in all:", *(f"  {row['reason']}" for row in quarantine[:_SHOWN])]
    if manifest.duplicates:
        shown = ["  " + " = ".join(group) for group in manifest.duplicates[:_SHOWN]]
        lines += [f"Stored more than once, {len(manifest.duplicates)} motions in all:", *shown]
    return "\n".join(lines)


def _row(name: str, entry: SourceEntry) -> tuple[str, ...]:
    total = entry.total
    lost = str(entry.quarantined)
    if entry.quarantined_sequences:
        lost += f" + {entry.quarantined_sequences} sequences"
    return name, str(entry.recordings), lost, str(total.sequences), f"{total.frames:,}", f"{total.hours:.2f}"


def _judge(manifest: Manifest, store: str, limit: float) -> None:
    entries = manifest.sources.values()
    recordings, lost = sum(entry.recordings for entry in entries), sum(entry.quarantined for entry in entries)
    lost_sequences = sum(entry.quarantined_sequences for entry in entries)
    sequences = lost_sequences + sum(entry.total.sequences for entry in entries)
    share = max(lost / recordings, lost_sequences / max(1, sequences))
    if share > limit or lost == recordings:
        raise TooMuchQuarantinedError(
            f"{store}: expected at most {limit:.0%} quarantined, found {share:.0%} ({lost} of {recordings} recordings, "
            f"{lost_sequences} of {sequences} sequences of the others). The reasons are in {store}/quarantine. "
            "Mend the input, or allow more with --max-quarantined. The store is complete without them."
        )


def _config(arguments: Sequence[str]) -> ExtractConfig:
    return parse(ExtractConfig, __doc__ or "", arguments)


if __name__ == "__main__":
    run_job(extract, _config)
