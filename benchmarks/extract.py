"""Measure extraction: the reading speed of each format, also compared with other libraries, and bytes per frame.

    python -m benchmarks.extract --quick                         # one minute, to check that it works python -m pip
    install --target PEERS bvhio bvh asfamc-parser ezc3d python -m benchmarks.extract --data DIR --peers-at PEERS
    --write    # your own recordings; writes README.md

Without ``--data`` the recordings are generated first (``extract_files.py``), so no data are needed. All figures except
those on scaling are for one process with one thread. README.md in this folder explains each figure.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.extract_files import WRITERS, write_recordings
from benchmarks.extract_peers import COMPARISONS, PEERS, Compared, compare, install_hint, is_installed
from benchmarks.extract_report import Reading, Report
from benchmarks.extract_sandbox import measure_sandbox
from benchmarks.extract_store import Scaling, Size, measure_scaling, measure_sizes
from benchmarks.measure import ChildError, Spread, in_child, interleave, machine, replace_section
from datasets.files import list_files
from datasets.readers.discovery import find_recordings
from datasets.readers.registry import READERS
from datasets.sequences import Recording, RecordingError
from pipelines.runtime.cli import parse

log = logging.getLogger(__name__)

README = Path(__file__).with_name("README.md")
SECONDS_PER_CASE = 600
_WRITTEN = 16
"""Number of generated recordings per format, enough to divide evenly among processes."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class ExtractBenchmark:
    """Options of the benchmark."""

    data: Path | None = None
    """Folder of recordings; the benchmark generates the formats that are missing there, or all without this option."""
    formats: tuple[str, ...] = ()
    """Formats to measure; default: all formats of the recordings."""
    peer: tuple[str, ...] = ()
    """Packages to compare with; default: those that are installed."""
    peers_at: Path | None = None
    """Folder into which packages were installed with `pip install --target`."""
    processes: int = 2
    """Number of processes whose speed is compared with that of one."""
    seconds: float | None = None
    """Seconds for each figure after warming up, at least five repetitions; default: 10, or 0.5 with --quick."""
    megabytes: float | None = None
    """Megabytes to read of each format at most, and four times as much for scaling; default: 8, or 0.5 with --quick."""
    quick: bool = False
    """Use little data, to check that everything runs; the figures are not meaningful."""
    write: bool = False
    """Replace the table in benchmarks/README.md."""

    def __post_init__(self) -> None:
        for name in ("seconds", "megabytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name}: expected a positive number, found {value}")
        if self.processes < 2:
            raise ValueError(f"--processes: expected 2 or more, found {self.processes}")
        if unknown := sorted(set(self.formats) - set(READERS)):
            raise ValueError(f"--formats: expected some of {', '.join(READERS)}, found {', '.join(unknown)}")
        if unknown := sorted(set(self.peer) - set(PEERS)):
            raise ValueError(f"--peer: expected some of {', '.join(PEERS)}, found {', '.join(unknown)}")
        if self.write and self.quick:
            raise ValueError("--write: expected a full measurement; leave out --quick")

    @property
    def step_seconds(self) -> float:
        """Return the seconds for each figure."""
        return self.seconds or (0.5 if self.quick else 10.0)

    @property
    def most_bytes(self) -> int:
        """Return the largest number of bytes to read of each format."""
        return int(1e6 * (self.megabytes or (0.5 if self.quick else 8.0)))


@dataclass(kw_only=True)
class Runner:
    """Runs each measurement in its own process, and records those that failed."""

    missing: list[str] = field(default_factory=list)

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any | None:
        """Return the function's result; if it fails, record the reason and return None."""
        log.info("%s", name)
        try:
            return in_child(function, *arguments, seconds=SECONDS_PER_CASE)
        except (ChildError, ValueError) as error:
            self.missing.append(f"{name}: {error}")
            log.warning("%s: %s", name, error)
            return None


def run(config: ExtractBenchmark) -> Report:
    """Measure everything.

    Raises:
        ValueError: There are no recordings in the data, or a requested peer is not installed.
    """
    peers = [peer for peer in config.peer or PEERS if is_installed(peer, config.peers_at)]
    absent = [install_hint(peer) for peer in PEERS if peer not in peers]
    if config.peer and len(peers) < len(set(config.peer)):
        raise ValueError("; ".join(hint for hint in absent if hint.split()[0] in config.peer))
    runner = Runner()
    with TemporaryDirectory(prefix="benchmark_") as scratch:
        found = recordings_by_format(config, Path(scratch))
        few = {name: some_of(members, config.most_bytes) for name, members in found.items()}
        readings = [
            runner.run(f"read {name}", measure_reading, name, members, config.step_seconds)
            for name, members in few.items()
        ]
        return Report(
            machine=machine("cpu"),
            readings=[reading for reading in readings if reading],
            compared=_compare(config, runner, few, peers),
            scalings=_scale(config, runner, found),
            sizes=_sizes(runner, few),
            sandbox=runner.run("sandbox", measure_sandbox, config.step_seconds) or [],
            missing=runner.missing,
            absent=[] if config.peer else absent,
        )


def recordings_by_format(config: ExtractBenchmark, scratch: Path) -> dict[str, list[Recording]]:
    """Return the recordings of the data, and generated ones of each missing format that we can write.

    Raises:
        ValueError: There are no recordings, or none of a requested format.
    """
    found: dict[str, list[Recording]] = {}
    if config.data:
        for recording in find_recordings(list_files(str(config.data)))[0]:
            found.setdefault(recording.reader, []).append(recording)
        if not found:
            raise ValueError(f"--data {config.data}: expected recordings, found none in a format that is known")
    frames = 500 if config.quick else 1000
    for name in WRITERS:
        if name not in found and (not config.formats or name in config.formats):
            write_recordings(scratch / name, name, count=_WRITTEN, frames=frames)
            found[name] = find_recordings(list_files(str(scratch / name)))[0]
    if lacking := sorted(set(config.formats) - set(found)):
        raise ValueError(f"--formats {' '.join(lacking)}: expected recordings in --data, found none")
    return {name: found[name] for name in config.formats or sorted(found)}


def some_of(recordings: Sequence[Recording], most_bytes: int) -> list[Recording]:
    """Return recordings of about ``most_bytes``, at least one, spread evenly over the list."""
    total = sum(recording.size for recording in recordings)
    step = max(1, -(-total // most_bytes))
    return list(recordings[::step])


def measure_reading(name: str, recordings: Sequence[Recording], seconds: float) -> Reading:
    """Measure reading recordings to canonical sequences. Runs in a new process.

    Raises:
        ValueError: None of the recordings can be read.
    """
    read = READERS[name].read
    frames = {recording: _frames(recording) for recording in recordings}
    readable = [recording for recording in recordings if frames[recording]]
    if not readable:
        raise ValueError(f"none of {len(recordings)} recordings can be read")

    def step() -> None:
        for recording in readable:
            for _ in read(recording):
                pass

    [times] = interleave({"read": step}, device="cpu", seconds=seconds, at_least=5).values()
    total = sum(frames.values())
    return Reading(
        format=name,
        files=len(readable),
        frames=total,
        bytes=sum(recording.size for recording in readable),
        frames_per_s=Spread.of([total / each for each in times]),
    )


def _frames(recording: Recording) -> int:
    """Number of frames of all sequences; 0 if the recording cannot be read."""
    try:
        return sum(sequence.num_frames for sequence in READERS[recording.reader].read(recording))
    except RecordingError:
        return 0


def _compare(
    config: ExtractBenchmark, runner: Runner, found: dict[str, list[Recording]], peers: Sequence[str]
) -> list[Compared]:
    """Run every comparison whose peer is installed, on the recording of median size."""
    results = []
    for number, comparison in enumerate(COMPARISONS):
        if comparison.peer not in peers or comparison.reader not in found:
            continue
        by_size = sorted(found[comparison.reader], key=lambda recording: recording.size)
        recording = by_size[len(by_size) // 2]
        name = f"{comparison.work}, {comparison.peer}"
        results.append(
            runner.run(name, compare, number, recording, _frames(recording), config.peers_at, config.step_seconds)
        )
    return [result for result in results if result]


def _scale(config: ExtractBenchmark, runner: Runner, found: dict[str, list[Recording]]) -> list[Scaling]:
    """Measure scaling on the formats with enough recordings for all processes."""
    results = []
    for name in ("bvh", "amc", "alphapose"):
        recordings = some_of(found.get(name, []), 4 * config.most_bytes)
        if len(recordings) >= config.processes:
            frames = sum(map(_frames, recordings))
            arguments = (recordings, frames, config.processes, config.step_seconds)
            results.append(runner.run(f"{config.processes} processes, {name}", measure_scaling, name, *arguments))
    return [result for result in results if result]


def _sizes(runner: Runner, found: dict[str, list[Recording]]) -> list[Size]:
    """Measure bytes per frame on the first format with 3D motion."""
    name = next((name for name in ("bvh", "amc", "c3d") if name in found), None)
    return (name and runner.run(f"bytes per frame, {name}", measure_sizes, name, found[name])) or []


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return the exit status: 1 if a measurement failed, 2 for wrong options."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # inherited by the processes that are started
    try:
        config = parse(ExtractBenchmark, __doc__ or "", arguments)
        report = run(config)
        text = report.markdown()
        sys.stdout.write(f"{text}\n")
        if config.write:
            replace_section(README, "extract", text)
    except ValueError as error:
        log.error("error: %s", error)
        return 2
    return 1 if report.missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
