"""The report for a terminal: one line per source, then what was quarantined or repaired, and duplicates."""

from collections.abc import Iterable, Sequence

from datasets.report.measures import SourceReport, StoreReport
from datasets.report.messages import MessageGroup, format_duration, make_printable

SHOWN = 5
"""Number of message groups, and of duplicate groups, that are shown for each source."""
COLUMNS = ("source", "recordings", "quarantined", "duplicates", "sequences", "frames", "time", "observed", "repaired")
SELDOM = 0.9
"""Joints that are observed in a smaller share of the frames are listed."""


def table(report: StoreReport, where: str) -> str:
    """Return the report as text; ``where`` is the store's path or URL."""
    rows = [COLUMNS, *(summary_row(name, source) for name, source in report.sources.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [f"Store {make_printable(where)} (digest {report.digest[:16]}):"]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for name, source in report.sources.items():
        lines += _details(make_printable(name), source)
    return "\n".join(lines)


def summary_row(name: str, source: SourceReport) -> tuple[str, ...]:
    """Return the cells of a source in the order of ``COLUMNS``: plain text without control characters."""
    entry, total = source.entry, source.entry.total
    observed = sum(source.observed.values()) / len(source.observed)
    lost = f"{entry.quarantined:,}"
    if entry.quarantined_sequences:
        lost += f" + {entry.quarantined_sequences:,} sequences"
    return (
        make_printable(name), f"{entry.recordings:,}", lost, f"{entry.duplicates:,}", f"{total.sequences:,}",
        f"{total.frames:,}", format_duration(total.hours), _percent(observed),
        f"{source.repaired:,}",
    )  # fmt: skip


def _details(name: str, source: SourceReport) -> list[str]:
    seldom = [f"{joint} {_percent(share)}" for joint, share in source.observed.items() if share < SELDOM]
    lines = []
    if seldom and source.entry.total.frames:
        lines.append(f"{name}: observed in few frames: {', '.join(seldom)}")
    lines += _messages(f"{name}: left out, {_sum(source.quarantine):,} in all:", source.quarantine, examples=True)
    lines += _messages(f"{name}: repaired or assumed:", source.repairs, examples=False)
    if source.duplicates:
        groups = [" = ".join(make_printable(each) for each in group) for group in source.duplicates[:SHOWN]]
        lines += [f"{name}: the same motion several times, the first of them stored:"]
        lines += _listed(groups, len(source.duplicates))
    if source.name_collisions:
        lines += [f"{name}: several sequences of one name:"]
        lines += _listed([make_printable(each) for each in source.name_collisions[:SHOWN]], len(source.name_collisions))
    return lines


def _messages(title: str, groups: Sequence[MessageGroup], *, examples: bool) -> list[str]:
    if not groups:
        return []
    lines = []
    for group in groups[:SHOWN]:
        example = f"\n    such as {make_printable(group.examples[0])}" if examples else ""
        lines.append(f"{group.count:,} × {make_printable(group.message)}{example}")
    return [title, *_listed(lines, len(groups))]


def _listed(lines: Iterable[str], number: int) -> list[str]:
    left = [f"  and {number - SHOWN:,} more"] if number > SHOWN else []
    return [*(f"  {line}" for line in lines), *left]


def _sum(groups: Iterable[MessageGroup]) -> int:
    return sum(each.count for each in groups)


def _percent(share: float) -> str:
    """Percentage with two digits; 100 % and 0 % are only used for all and none."""
    return f"{share:.1%}" if share in (0, 1) or 0.001 <= share <= 0.999 else ("<0.1%" if share < 0.5 else ">99.9%")
