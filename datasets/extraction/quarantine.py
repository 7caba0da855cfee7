"""Recordings and sequences that cannot be used: rows of the quarantine table, and how many a job may have."""

import unicodedata
from dataclasses import dataclass

from datasets.sequences import Recording

_MAX_REASON = 2000
"""Characters. A reason may quote a number of a million digits; it is cut."""


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A row of the quarantine table: a sequence, or the rest of a recording whose reader gave up."""

    recording: Recording
    sequence_id: str | None
    """None for the rest of a recording."""
    reason: str
    """What the table says."""
    problems: tuple[str, ...] = ()
    """Every bound that a sequence breaks, where ``reason`` names the first."""

    def row(self) -> dict[str, str | None]:
        """Return the row."""
        return {
            "path": escape_controls(self.recording.path),
            "reader": self.recording.reader,
            "source": self.recording.source.name,
            "sequence_id": self.sequence_id,
            "reason": self.reason,
        }


def quarantine(
    recording: Recording, reason: str, sequence_id: str | None = None, problems: tuple[str, ...] = ()
) -> Quarantined:
    """Return the row for a recording, or for one sequence of it."""
    reason = escape_controls(reason)
    cut = f"{reason[:_MAX_REASON]} ..." if len(reason) > _MAX_REASON else reason
    return Quarantined(recording=recording, sequence_id=sequence_id, reason=cut, problems=problems)


def escape_controls(text: str) -> str:
    """Spell out control characters, and halves of surrogate pairs, which a table cannot hold.

    Such halves stand for bytes of a file name that are not UTF-8, and JSON may have them anywhere.
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


@dataclass(frozen=True, kw_only=True)
class QuarantineCounts:
    """How much of an input could not be used."""

    recordings: int
    """All recordings."""
    quarantined_recordings: int
    """Recordings of which nothing can be used."""
    sequences: int
    """All sequences of the other recordings."""
    quarantined_sequences: int
    """Sequences of the other recordings that cannot be used."""

    def exceed(self, share: float) -> bool:
        """Tell whether more than a share of the recordings or of the sequences is quarantined, or all there is."""
        return self.share > share or self.quarantined_recordings == self.recordings

    @property
    def share(self) -> float:
        """The quarantined share of recordings or of sequences, whichever is larger."""
        of_recordings = self.quarantined_recordings / self.recordings
        return max(of_recordings, self.quarantined_sequences / max(1, self.sequences))

    def __str__(self) -> str:
        return (
            f"{self.share:.0%} ({self.quarantined_recordings} of {self.recordings} recordings, "
            f"{self.quarantined_sequences} of {self.sequences} sequences of the others)"
        )
