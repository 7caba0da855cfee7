"""Format the results of the extraction benchmark as Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.extract_peers import Compared
from benchmarks.extract_sandbox import SandboxCost
from benchmarks.extract_store import Scaling, Size
from benchmarks.measure import Spread, markdown_table


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Reading speed of one format."""

    format: str
    files: int
    """Number of recordings; one of OpenPose has one file per frame."""
    frames: int
    """Number of frames of all sequences: two people in a frame count twice."""
    bytes: int
    frames_per_s: Spread


@dataclass(frozen=True, kw_only=True)
class Report:
    """All results on a machine."""

    machine: str
    readings: Sequence[Reading]
    compared: Sequence[Compared]
    scalings: Sequence[Scaling]
    sizes: Sequence[Size]
    sandbox: Sequence[SandboxCost]
    missing: Sequence[str]
    """Measurements that failed, and why."""
    absent: Sequence[str]
    """Peers that are not installed, and how to install them."""

    def markdown(self) -> str:
        """Return the results as tables, followed by what was not measured."""
        parts = [self.machine, _readings_table(self.readings)]
        if self.compared:
            parts += ["Our readers and other libraries, in alternating runs:", _compared_table(self.compared)]
        if self.scalings:
            parts += ["Whole shards, from recordings to the store:", _scalings_table(self.scalings)]
        if self.sandbox:
            parts += ["The sandbox process in which readers run:", _sandbox_table(self.sandbox)]
        if self.sizes:
            parts += ["Bytes per distinct frame:", _sizes_table(self.sizes)]
        if not_measured := [*self.missing, *self.absent]:
            parts.append("Not measured:\n\n" + "\n".join(f"- {each}" for each in not_measured))
        return "\n\n".join(parts)


def _readings_table(readings: Sequence[Reading]) -> str:
    header = ("format", "recordings", "frames", "frames/s per core (quartiles)", "MB/s")
    return markdown_table(header, [_reading_row(reading) for reading in readings])


def _reading_row(reading: Reading) -> tuple[str, ...]:
    megabytes_per_s = reading.bytes / reading.frames * reading.frames_per_s.median / 1e6
    return (
        reading.format,
        f"{reading.files:,}",
        f"{reading.frames:,}",
        _thousands(reading.frames_per_s),
        f"{megabytes_per_s:.3g}",
    )


def _compared_table(compared: Sequence[Compared]) -> str:
    header = ("work", "peer", "frames", "peer's frames/s", "our frames/s", "times as fast", "largest difference")
    return markdown_table(header, [_compared_row(each) for each in compared])


def _compared_row(found: Compared) -> tuple[str, ...]:
    return (
        found.work,
        found.peer,
        f"{found.frames:,}",
        _thousands(found.theirs),
        _thousands(found.ours),
        _ratio(found.ratio),
        f"{found.largest_difference:.0e}",
    )


def _scalings_table(scalings: Sequence[Scaling]) -> str:
    header = (
        "format", "frames", "processes", "frames/s of one", "frames/s of all", "times as fast", "speed-up of a loop",
    )  # fmt: skip
    return markdown_table(header, [_scaling_row(each) for each in scalings])


def _scaling_row(found: Scaling) -> tuple[str, ...]:
    return (
        found.format,
        f"{found.frames:,}",
        f"{found.processes}",
        _thousands(found.one),
        _thousands(found.several),
        _ratio(found.gain),
        _ratio(found.gain_of_loop),
    )


def _sandbox_table(costs: Sequence[SandboxCost]) -> str:
    rows = [
        (each.work, f"{1e3 * each.seconds.median:.3g} ({1e3 * each.seconds.low:.3g}–{1e3 * each.seconds.high:.3g})")
        for each in costs
    ]
    return markdown_table(("work", "ms (quartiles)"), rows)


def _sizes_table(sizes: Sequence[Size]) -> str:
    header = ("content", "format", "frames", "our store", "published clips", "share")
    rows = [
        (
            each.content,
            each.format,
            f"{each.frames:,}",
            f"{each.store:.0f}",
            f"{each.clips:.0f}",
            f"{each.store / each.clips:.2f}",
        )
        for each in sizes
    ]
    return markdown_table(header, rows)


def _thousands(spread: Spread) -> str:
    return f"{spread.median:,.0f} ({spread.low:,.0f}–{spread.high:,.0f})"


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.3g} ({spread.low:.3g}–{spread.high:.3g})"
