"""What extraction would make of recordings, without a store: each sequence passes, is repaired, or is quarantined."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from datasets.extraction.quarantine import Lost, plain
from datasets.extraction.reading import DEFAULT_LIMITS, read_sequences
from datasets.quality.checks import judge
from datasets.quality.resampling import resample
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import Reader, Recording

Outcome = Literal["pass", "repaired", "quarantined"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "repaired", "quarantined")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of a sequence, or of what is left of a recording where its reader gives up."""

    source: str
    path: str
    sequence_id: str | None
    outcome: Outcome
    why: tuple[str, ...] = ()
    """All repairs, the reader's included, or all reasons."""


def lint_recording(
    recording: Recording, reader: Reader, *, fps: float, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[Finding]:
    """Judge a recording as extraction would; at least one finding.

    Raises:
        ConnectionError, TimeoutError: the input could not be reached.
    """

    def finding(sequence_id: str | None, outcome: Outcome, why: tuple[str, ...]) -> Finding:
        path = plain(recording.path)
        return Finding(source=recording.source, path=path, sequence_id=sequence_id, outcome=outcome, why=why)

    empty = True
    for sequence in read_sequences(recording, reader, limits=limits):
        empty = False
        if isinstance(sequence, Lost):
            yield finding(None, "quarantined", (sequence.reason,))
            continue
        verdict = judge(sequence)
        if verdict.outcome != "quarantined":
            resampled = resample(verdict.sequence, fps)
            verdict = verdict if resampled is verdict.sequence else judge(resampled)
        repairs = verdict.sequence.repairs
        outcome: Outcome = "repaired" if verdict.outcome == "pass" and repairs else verdict.outcome
        yield finding(sequence.sequence_id, outcome, verdict.why if outcome == "quarantined" else repairs)
    if empty:
        yield finding(None, "quarantined", ("no sequence in it",))
