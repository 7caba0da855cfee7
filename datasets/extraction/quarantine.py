"""Recordings and sequences that cannot be used: rows of the quarantine table, and how many a job may have."""

import unicodedata
from dataclasses import dataclass

from datasets.sequences import Recording

_MAX_REASON = 2000
"""Longest reason in characters; a reason may quote a number of a million digits."""


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A row of the quarantine table: a sequence, or the rest of a recording after its reader failed."""

    recording: Recording
    sequence_id: str | None
    """None for the rest of a recording."""
    reason: str
    """The reason in the table."""
    problems: tuple[str, ...] = ()
    """Every bound that the sequence breaks; ``reason`` names the first one."""

    def row(self) -> dict[str, str | None]:
        """Return the row's columns by name."""
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
    """Return the row for a recording, or for one of its sequences."""
    reason = escape_controls(reason)
    cut = f"{reason[:_MAX_REASON]} ..." if len(reason) > _MAX_REASON else reason
    return Quarantined(recording=recording, sequence_id=sequence_id, reason=cut, problems=problems)


def escape_controls(text: str) -> str:
    """Escape control characters and unpaired surrogates, which a table cannot store.

    Python uses unpaired surrogates for bytes of a file name that are not UTF-8, and JSON may contain them anywhere.
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


@dataclass(frozen=True, kw_only=True)
class QuarantineCounts:
    """Counts of the recordings and sequences of an input that cannot be used."""

    recordings: int
    """All recordings."""
    quarantined_recordings: int
    """Recordings without any usable sequence."""
    sequences: int
    """All sequences of the other recordings."""
    quarantined_sequences: int
    """Sequences of the other recordings that cannot be used."""

    def exceed(self, share: float) -> bool:
        """Tell whether more than ``share`` of the recordings or sequences, or everything, is quarantined."""
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
