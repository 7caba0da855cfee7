"""Look at recordings as extraction would, and only report: ``pipelines.extract --lint``."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from datasets.extraction.linting import OUTCOMES, lint_recording
from datasets.extraction.quarantine import QuarantineCounts
from datasets.extraction.shard import Shard
from datasets.readers.registry import READERS
from datasets.report.messages import Kinds, printable, reason_kind
from datasets.sandbox.limits import ReadLimits
from pipelines.runtime.progress import progress_bar
from pipelines.runtime.shard_tasks import run_shards

SHOWN = 20
"""Kinds of findings that are listed of a source."""


@dataclass(frozen=True, kw_only=True)
class LintReport:
    """What linting found."""

    text: str
    """For the terminal."""
    outcomes: Mapping[str, int]
    """How many sequences passed, were repaired, were quarantined."""
    losses: QuarantineCounts


@dataclass(kw_only=True)
class _Tally:
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Kinds] = field(default_factory=lambda: {outcome: Kinds() for outcome in OUTCOMES})


def lint(shards: Sequence[Shard], limits: ReadLimits) -> LintReport:
    """Judge all recordings of the shards on the cluster."""
    tallies: dict[str, _Tally] = {}
    lost_recordings = lost_sequences = 0
    bar = progress_bar("lint", len(shards), unit="shard", on_terminal=sys.stderr.isatty())
    for row in run_shards(shards, lambda shard: _lint_shard(shard, limits)):
        bar.update(1)
        lost_recordings += row["lost_recordings"]
        lost_sequences += row["lost_sequences"]
        for finding in row["findings"]:
            _count(tallies.setdefault(finding["source"], _Tally()), finding)
    bar.close()
    outcomes = {each: sum(tally.outcomes[each] for tally in tallies.values()) for each in OUTCOMES}
    losses = QuarantineCounts(
        recordings=sum(len(shard.recordings) for shard in shards),
        lost_recordings=lost_recordings,
        sequences=outcomes["pass"] + outcomes["repaired"] + lost_sequences,
        lost_sequences=lost_sequences,
    )
    return LintReport(text=_text(tallies), outcomes=outcomes, losses=losses)


def _lint_shard(shard: Shard, limits: ReadLimits) -> dict[str, Any]:
    found = [
        list(lint_recording(each, READERS[each.reader], fps=shard.fps, limits=limits)) for each in shard.recordings
    ]
    lost = [sum(each.outcome == "quarantined" for each in findings) for findings in found]
    whole = [number == len(findings) for number, findings in zip(lost, found, strict=True)]
    return {
        "findings": [asdict(each) for findings in found for each in findings],
        "lost_recordings": sum(whole),
        "lost_sequences": sum(number for number, is_whole in zip(lost, whole, strict=True) if not is_whole),
    }


def _count(tally: _Tally, finding: Mapping[str, Any]) -> None:
    tally.outcomes[finding["outcome"]] += 1
    where = finding["path"] + (f" ({finding['sequence_id']})" if finding["sequence_id"] else "")
    for why in finding["why"]:
        example = f"{where}: {why.removeprefix(finding['path'] + ': ')}"
        tally.kinds[finding["outcome"]].add(reason_kind({**finding, "reason": why}), example)


def _text(tallies: Mapping[str, _Tally]) -> str:
    rows = [("source", *OUTCOMES)]
    rows += [(name, *(f"{tally.outcomes[each]:,}" for each in OUTCOMES)) for name, tally in sorted(tallies.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for name, tally in sorted(tallies.items()):
        for outcome in reversed(OUTCOMES):
            for kind in tally.kinds[outcome].counted()[:SHOWN]:
                lines.append(f"{name}: {outcome}: {kind.count:,} x {printable(kind.what)}")
                lines.append(f"    such as {printable(kind.examples[0])}")
    return "\n".join(lines)
