"""How much of an input may be lost before a job counts as failed: one rule for extraction and for --lint."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Losses:
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
