"""Recordings and sequences that cannot be used: rows of the quarantine table, and how many a job may have."""

import unicodedata
from dataclasses import dataclass

from datasets.sequences import Recording

_MAX_REASON = 2000
"""Characters: a reason that quotes a number of a million digits is cut."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A row of the quarantine table: a sequence, or what is left of a recording."""

    recording: Recording
    sequence_id: str | None
    reason: str

    def row(self) -> dict[str, str | None]:
        """Return the row."""
        return {
            "path": plain(self.recording.path),
            "reader": self.recording.reader,
            "source": self.recording.source.name,
            "sequence_id": self.sequence_id,
            "reason": self.reason,
        }


def lost(recording: Recording, reason: str, sequence_id: str | None = None) -> Lost:
    """Return the row for a recording, or for one sequence of it."""
    reason = plain(reason)
    cut = f"{reason[:_MAX_REASON]} ..." if len(reason) > _MAX_REASON else reason
    return Lost(recording=recording, sequence_id=sequence_id, reason=cut)


def plain(text: str) -> str:
    """Spell out the characters that a table cannot hold or a terminal would obey.

    These are halves of surrogate pairs, which stand for bytes of a file name that are no UTF-8 and which JSON may have
    anywhere, and control characters.
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )


@dataclass(frozen=True, kw_only=True)
class QuarantineCounts:
    """What could not be used."""

    recordings: int
    lost_recordings: int
    """Of which nothing can be used."""
    sequences: int
    """Of the other recordings."""
    lost_sequences: int

    def exceed(self, share: float) -> bool:
        """Whether more than a share of the recordings or of the sequences is lost, or all there is."""
        return self.share > share or self.lost_recordings == self.recordings

    @property
    def share(self) -> float:
        """Of recordings or of sequences, whichever is the larger."""
        return max(self.lost_recordings / self.recordings, self.lost_sequences / max(1, self.sequences))

    def __str__(self) -> str:
        return (
            f"{self.share:.0%} ({self.lost_recordings} of {self.recordings} recordings, {self.lost_sequences} of "
            f"{self.sequences} sequences of the others)"
        )
