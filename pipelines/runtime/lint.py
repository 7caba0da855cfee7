"""Examine recordings like an extraction, but only report the result: ``pipelines.extract --lint``."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets.extraction.examine import examine_recording
from datasets.extraction.quarantine import QuarantineCounts, Quarantined, escape_controls
from datasets.extraction.reading import DEFAULT_LIMITS
from datasets.extraction.shard import Shard
from datasets.readers.registry import find_format
from datasets.report.messages import MessageGroups, make_printable, summarise_reason
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Recording
from pipelines.runtime.progress import progress_bar
from pipelines.runtime.shard_tasks import run_shards

OUTCOMES = ("pass", "repaired", "quarantined")
SHOWN = 20
"""Number of groups of findings that are listed for each source and outcome."""


@dataclass(frozen=True, kw_only=True)
class LintReport:
    """The result of linting."""

    text: str
    """The report as text, for the terminal."""
    outcomes: Mapping[str, int]
    """How many sequences would pass, be repaired or be quarantined."""
    quarantined: QuarantineCounts


@dataclass(kw_only=True)
class _Tally:
    outcomes: Counter[str] = field(default_factory=Counter)
    messages: dict[str, MessageGroups] = field(
        default_factory=lambda: {outcome: MessageGroups() for outcome in OUTCOMES}
    )


def lint(shards: Sequence[Shard], limits: ReadLimits = DEFAULT_LIMITS) -> LintReport:
    """Examine all recordings of the shards on the cluster, and store nothing."""
    tallies: dict[str, _Tally] = {}
    recordings = sequences = 0
    bar = progress_bar("lint", len(shards), unit="shard", is_tty=sys.stderr.isatty())
    for row in run_shards(shards, lambda shard: _lint_shard(shard, limits)):
        bar.update(1)
        recordings += row["quarantined_recordings"]
        sequences += row["quarantined_sequences"]
        for finding in row["findings"]:
            _count(tallies.setdefault(finding["source"], _Tally()), finding)
    bar.close()
    outcomes = {each: sum(tally.outcomes[each] for tally in tallies.values()) for each in OUTCOMES}
    quarantined = QuarantineCounts(
        recordings=sum(len(shard.recordings) for shard in shards),
        quarantined_recordings=recordings,
        sequences=outcomes["pass"] + outcomes["repaired"] + sequences,
        quarantined_sequences=sequences,
    )
    return LintReport(text=_text(tallies), outcomes=outcomes, quarantined=quarantined)


def _lint_shard(shard: Shard, limits: ReadLimits) -> dict[str, Any]:
    reader = find_format(shard.reader).reader
    found = [
        [_finding(recording, result) for result in examine_recording(recording, reader, fps=shard.fps, limits=limits)]
        for recording in shard.recordings
    ]
    quarantined = [sum(each["outcome"] == "quarantined" for each in findings) for findings in found]
    whole = [number == len(findings) for number, findings in zip(quarantined, found, strict=True)]
    return {
        "findings": [each for findings in found for each in findings],
        "quarantined_recordings": sum(whole),
        "quarantined_sequences": sum(number for number, all_of in zip(quarantined, whole, strict=True) if not all_of),
    }


def _finding(recording: Recording, result: MotionSequence | Quarantined) -> dict[str, Any]:
    """Return the outcome of a sequence (or of the rest of a recording that cannot be read), with reasons or repairs."""
    path = escape_controls(recording.path)
    finding = {"source": recording.source.name, "path": path, "sequence_id": result.sequence_id}
    if isinstance(result, Quarantined):
        return finding | {"outcome": "quarantined", "why": result.problems or (result.reason,)}
    return finding | {"outcome": "repaired" if result.repairs else "pass", "why": result.repairs}


def _count(tally: _Tally, finding: Mapping[str, Any]) -> None:
    tally.outcomes[finding["outcome"]] += 1
    where = finding["path"] + (f" ({finding['sequence_id']})" if finding["sequence_id"] else "")
    for why in finding["why"]:
        example = f"{where}: {why.removeprefix(finding['path'] + ': ')}"
        tally.messages[finding["outcome"]].add(summarise_reason({**finding, "reason": why}), example)


def _text(tallies: Mapping[str, _Tally]) -> str:
    rows = [("source", *OUTCOMES)]
    rows += [(name, *(f"{tally.outcomes[each]:,}" for each in OUTCOMES)) for name, tally in sorted(tallies.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for name, tally in sorted(tallies.items()):
        for outcome in reversed(OUTCOMES):
            for group in tally.messages[outcome].sorted()[:SHOWN]:
                lines.append(f"{name}: {outcome}: {group.count:,} x {make_printable(group.message)}")
                lines.append(f"    such as {make_printable(group.examples[0])}")
    return "\n".join(lines)
