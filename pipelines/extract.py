"""Extract recordings into a Parquet store, in parallel on Ray Data.

Finds all recordings in the inputs, checks them, resamples them to one frame rate, and writes the store. Recordings and
sequences that cannot be used are listed in the store's quarantine table with the reason. The job then continues, and
fails at the end if too many were quarantined (--max-quarantined). Recordings are streamed: memory use does not grow
with the input. If the job is stopped, the same command continues it. Other inputs, or new files in the same input,
extend the store. With --lint nothing is written: the job only reports what it would do.
"""

import sys
from pathlib import Path, PurePosixPath

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from datasets.extraction.finish import finish
from datasets.extraction.plan import extend, find_unfinished
from datasets.extraction.quarantine import QuarantineCounts
from datasets.extraction.shard import Shard, plan
from datasets.extraction.shard_writer import extract_shard
from datasets.quality.checks import CheckLimits
from datasets.readers.discovery import find_in, is_companion
from datasets.readers.procedural import reader as procedural_motion
from datasets.readers.registry import all_readers, find_format
from datasets.report.report import write_report
from datasets.report.table import table
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import File, Recording
from datasets.store.manifest import Manifest, StoreError
from pipelines.runtime.cli import parse, run_job
from pipelines.runtime.lint import lint
from pipelines.runtime.paths import absolute
from pipelines.runtime.progress import progress_bar
from pipelines.runtime.shard_tasks import run_shards

log = logging.getLogger(__name__)

_ARCHIVES = frozenset({".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".zst"})


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Options of the extract job."""

    input: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Folder, file or URL (s3://, ...) of recordings, or procedural://?people=12 for generated motion of 12 people.
    Repeat the option for several inputs."""
    store: str | None = None
    """Folder or URL of the store to write. An unfinished store is resumed, a finished one is extended. Required, except
    with --lint."""
    retry: bool = False
    """Extract again the recordings that were quarantined, or that changed since they were extracted. Use it after you
    repaired files."""
    lint: bool = False
    """Only report which sequences would pass, be repaired or be quarantined, and why. Nothing is written."""
    reader: str | None = None
    """Format of all inputs: the name of a reader, or a module with a reader of your own (package.module). By default
    the format of each file is recognised by its name and content."""
    fps: float = 30.0
    """Frame rate of the store in Hz; all sequences are resampled to it."""
    max_quarantined: float = 0.1
    """Largest share (0 to 1) of the recordings, or of the sequences, that may be quarantined. If more are, the job ends
    with an error; the store is complete without them."""
    licence: str | None = None
    """Licence of the recordings whose source does not declare one. By default it is recorded as unknown, with a
    warning."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """Limits on the time and memory for reading one recording; a recording that exceeds them is quarantined."""

    def __post_init__(self) -> None:
        if not self.input:
            raise ValueError("input: expected at least one folder, file or URL; pass --input")
        if self.lint == (self.store is not None):
            raise ValueError("store: expected either --store or --lint, found both or neither")
        if self.lint and (self.licence or self.retry):
            raise ValueError("licence and retry have no effect with --lint. Leave them out.")
        if self.reader is not None:
            find_format(self.reader)
        low, high = CheckLimits().fps
        if not low < self.fps < high:
            raise ValueError(f"fps: expected between {low:g} and {high:g}, found {self.fps}")
        if not 0 <= self.max_quarantined <= 1:
            raise ValueError(f"max_quarantined: expected a share from 0 to 1, found {self.max_quarantined}")

    @property
    def command(self) -> str:
        """Return the command line of the same extraction."""
        words = ["python", "-m", "pipelines.extract"]
        words += [word for url in self.input for word in ("--input", url)]
        words += ["--store", str(self.store), "--fps", f"{self.fps!r}"]
        words += ["--reader", self.reader] if self.reader else []
        words += ["--retry"] if self.retry else []
        for name, value in vars(self.limits).items():
            words += [f"--limits.{name.replace('_', '-')}", f"{value!r}"] if value != getattr(ReadLimits, name) else []
        return shlex.join(words + (["--licence", self.licence] if self.licence else []))


class TooMuchQuarantinedError(ValueError):
    """More of the input was quarantined than allowed. If a store was written, it is complete without those."""


def run(config: ExtractConfig) -> None:
    """Extract, or only report."""
    if not config.lint:
        extract(config)
        return
    found = lint(plan(_recordings(config, store=None), fps=config.fps), config.limits)
    log.info("%s", found.text)
    if found.quarantined.exceed(config.max_quarantined):
        raise TooMuchQuarantinedError(
            f"expected at most {config.max_quarantined:.0%} quarantined, found {found.quarantined}. Repair the input, "
            "or allow more with --max-quarantined."
        )


def extract(config: ExtractConfig) -> Manifest:
    """Extract the recordings and write the manifest and the report.

    Raises:
        ValueError: the input has no recordings, the store has another frame rate, its recordings changed, the disk is
            full, or an option has no effect.
        TooMuchQuarantinedError: the store was written, but too much was quarantined.
    """
    assert config.store is not None
    store = absolute(config.store).rstrip("/")
    recordings = _recordings(config, store)
    _check_licence(config, recordings)
    plans = extend(
        store, recordings, fps=config.fps, command=config.command, licence=config.licence, retry=config.retry
    )
    shards = [shard for each in plans for shard in each.shards]
    to_do = find_unfinished(shards, store)
    log.info("extracting %d of %d shards to %s", len(to_do), len(shards), store)
    _run(to_do, store, config.limits)
    manifest = finish(store)
    log.info("%s", table(write_report(store), store))
    _judge(manifest, store, config.max_quarantined)
    return manifest


def _recordings(config: ExtractConfig, store: str | None) -> list[Recording]:
    return [
        recording for url in config.input for recording in _recordings_of(absolute(url), store, reader=config.reader)
    ]


def _recordings_of(url: str, store: str | None, *, reader: str | None) -> list[Recording]:
    if url.startswith("procedural://"):
        return procedural_motion.READER.recordings(url)
    recordings, unknown = find_in(url, all_readers() if reader is None else {reader: find_format(reader).reader})
    if store is not None:  # the store may be a folder inside the input
        recordings = [each for each in recordings if not each.path.startswith(f"{store}/")]
        unknown = [each for each in unknown if not each.path.startswith(f"{store}/")]
    if unknown:
        log.warning("%s: skipped %d files of unknown format: %s", url, len(unknown), _by_suffix(unknown))
    if not recordings:
        raise ValueError(_nothing_found(url, unknown, reader))
    return recordings


def _nothing_found(url: str, unknown: Sequence[File], reader: str | None) -> str:
    if is_companion(url):
        return f"{url} is a companion file (e.g. a skeleton), not a recording. Pass the folder or a recording."
    if reader is not None:
        return (
            f"{url}: expected files that the reader {reader} recognises, found none. Pass one file, or remove --reader."
        )
    known = ", ".join(all_readers())
    return (
        f"{url}: expected recordings in a known format ({known}), found none, but {len(unknown)} data files of unknown "
        "format. Pass the folder of the recordings, or one file and its --reader."
    )


def _by_suffix(files: Sequence[File]) -> str:
    """Return how many files have each suffix, with an example: ``3 .dat (such as a/b.dat)``."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(PurePosixPath(file.path).suffix or "without a suffix", []).append(file.path)
    said = ", ".join(f"{len(paths)} {suffix} (such as {paths[0]})" for suffix, paths in groups.items())
    return f"{said}. Unpack archives first." if _ARCHIVES & groups.keys() else said


def _check_licence(config: ExtractConfig, recordings: Sequence[Recording]) -> None:
    sources = sorted({recording.source for recording in recordings}, key=str)
    unstated = [source.name for source in sources if source.licence is None]
    if config.licence and not unstated:
        raise ValueError(
            f"--licence has no effect: every source here already declares a licence ({', '.join(map(str, sources))}). "
            "Remove it."
        )
    if unstated and not config.licence:
        log.warning("licence of %s is unknown; state it with --licence", ", ".join(unstated))


def _run(shards: Sequence[Shard], store: str, limits: ReadLimits) -> None:
    if not shards:
        return

    def do(shard: Shard) -> dict[str, Any]:
        """Extract one shard; return the message of a ``StoreError``, which Ray would hide in a long trace."""
        try:
            extract_shard(shard, store, readers={shard.reader: find_format(shard.reader).reader}, limits=limits)
        except StoreError as error:
            return {"error": str(error)}
        return {"error": ""}

    bar = progress_bar("extract", len(shards), unit="shard", is_tty=sys.stderr.isatty())
    for done in run_shards(shards, do):
        if done["error"]:
            raise StoreError(done["error"])
        bar.update(1)
    bar.close()


def _judge(manifest: Manifest, store: str, limit: float) -> None:
    entries = manifest.sources.values()
    sequences = sum(entry.quarantined_sequences for entry in entries)
    quarantined = QuarantineCounts(
        recordings=sum(entry.recordings for entry in entries),
        quarantined_recordings=sum(entry.quarantined for entry in entries),
        sequences=sequences + sum(entry.total.sequences for entry in entries),
        quarantined_sequences=sequences,
    )
    if quarantined.exceed(limit):
        raise TooMuchQuarantinedError(
            f"{store}: expected at most {limit:.0%} quarantined, found {quarantined}. The reasons are in "
            f"{store}/_quarantine. Repair the input and run again with --retry, or allow more with --max-quarantined. "
            "The store is complete without them."
        )


def configure(arguments: Sequence[str]) -> ExtractConfig:
    """Parse the command line."""
    return parse(ExtractConfig, __doc__ or "", arguments)


if __name__ == "__main__":
    run_job(run, configure)
