"""The model card: where the weights come from and how they score. It is stored with the weights.

Licences of the data, scores with their protocols, and the length of the training clips have fields of their own, so
they are always present and complete. All other facts (recipe, store digest, commit) may have any form.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from motion_encoder.metrics import Protocol, Score


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known about how a model was made."""

    licences: Mapping[str, str] = field(default_factory=dict)
    """Licence of each source that the weights were trained on."""
    scores: tuple[Score, ...] = ()
    """Scores on held-out people; the first one is used to compare versions."""
    clip_frames: int | None = None
    """Number of frames in the clips that the weights were trained on; None if unknown."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Any other facts, as JSON values."""

    def to_tree(self) -> dict[str, Any]:
        """Return the card as plain dictionaries and lists, for JSON."""
        return {
            "licences": dict(self.licences),
            "scores": [asdict(score) for score in self.scores],
            "clip_frames": self.clip_frames,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "ModelCard":
        """Return the card from the result of ``to_tree``.

        Raises:
            ValueError: a field is missing, unknown or of the wrong type.
        """
        try:
            scores = tuple(Score(**{**score, "protocol": Protocol(**score["protocol"])}) for score in tree["scores"])
            card = cls(**{**tree, "scores": scores})
            if not isinstance(card.licences, Mapping) or not isinstance(card.facts, Mapping):
                raise TypeError("licences and facts are objects")
            if not isinstance(card.clip_frames, int | None):
                raise TypeError("clip_frames is a number or null")
            return card
        except (KeyError, TypeError) as error:
            raise ValueError(f"card: expected licences, scores with protocols, facts: {error!r}") from error
