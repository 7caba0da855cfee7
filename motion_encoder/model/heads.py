"""The action head, and the model that puts it on an encoder.

The 3D pose head is DSTformer's own last layer, ``head`` (``dim_rep`` → 3): a 3D pose model is a plain ``DSTformer``.

The action head is the published one (``ActionHeadClassification`` of the published code: for 60 classes 17,954,876
parameters under the names fc1, bn and fc2), with two means made honest. The published code averages over frames and
people as stored, padding and the all-zero second person of one-person clips included. Here padded frames do not count,
and neither do people who were never observed; for one person without padding both give the same. Weights that were
trained with the published means need them again: ``ActionHeadConfig.published_means``.

Shapes: B samples, P people, T frames, J joints, C channels, R channels of the representation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from motion_encoder.cards import ModelCard
from motion_encoder.model.dstformer import DSTformer, DSTformerConfig
from motion_encoder.shapes import Bool, Float

CONFIDENCE = 2  # the channel of the network's input


@dataclass(frozen=True, kw_only=True)
class ActionHeadConfig:
    """The size of an action head; the defaults are the published ones."""

    hidden: int = 2048
    """Channels between the two layers."""
    dropout: float = 0.5
    """Share of the representation that is zeroed in training."""
    published_means: bool = False
    """Average over everyone in the sample, also who was never observed, as the published code does.

    Set in models that are read from published files: their scores were reached with the all-zero second person of
    one-person clips in the mean. Frames that are marked as padding do not count either way.
    """

    def __post_init__(self) -> None:
        if not self.hidden > 0:
            raise ValueError(f"head.hidden: expected a positive number, found {self.hidden}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"head.dropout: expected a share in [0, 1), found {self.dropout}")


class ActionModel(nn.Module):
    """Names the action of up to P people who move together.

    The encoder is taken over: its 3D head gets no gradient here, and is frozen so that data-parallel training knows.

    Args:
        encoder: the representation to classify.
        labels: names of the classes, in the order of the logits.
        config: the size of the head.
        generator: what the head's weights are drawn from; unused under ``torch.device("meta")``.

    Raises:
        ValueError: no labels, or the same one twice.
    """

    card = ModelCard()
    """Where the weights come from and what they are worth; empty until they are loaded."""

    def __init__(
        self, encoder: DSTformer, labels: tuple[str, ...], config: ActionHeadConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"action model: expected the names of unlike classes as labels, found {labels}")
        self.labels = labels
        self.encoder = encoder
        self.encoder.head.requires_grad_(False)
        self.head = ActionHead(config, encoder.config, len(labels), generator)

    def forward(
        self, x_BPTJC: Float[Tensor, "B P T J C"], valid_BT: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B classes"]:
        """Return the logits.

        Args:
            x_BPTJC: x and y in window units, and confidence; a person who is not there has confidence 0 throughout,
                and does not count, unless the head has ``published_means``.
            valid_BT: the frames that belong to the sample, for all its people; all frames if it is left out.

        Raises:
            ValueError: as ``DSTformer.encode``.
        """
        num_people = x_BPTJC.shape[1]
        valid_NT = None if valid_BT is None else valid_BT[:, None].expand(-1, num_people, -1).flatten(0, 1)
        rep_BPTJR = self.encoder.encode(x_BPTJC.flatten(0, 1), valid_NT).unflatten(0, (-1, num_people))
        observed_BPT = (x_BPTJC[..., CONFIDENCE] > 0).any(dim=-1)
        counts_BPT = torch.ones_like(observed_BPT) if valid_BT is None else valid_BT[:, None].expand_as(observed_BPT)
        if self.head.config.published_means:
            return self.head(rep_BPTJR, counts_BPT)
        present_BP1 = (observed_BPT & counts_BPT).any(dim=-1, keepdim=True)
        return self.head(rep_BPTJR, counts_BPT & present_BP1)


class ActionHead(nn.Module):
    """From the representations of a sample's people to logits: means over time and people, then two layers."""

    def __init__(
        self, config: ActionHeadConfig, encoder: DSTformerConfig, num_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(encoder.num_joints * encoder.dim_rep, config.hidden)
        self.bn = nn.BatchNorm1d(config.hidden)
        self.fc2 = nn.Linear(config.hidden, num_classes)
        if not self.fc1.weight.is_meta:
            _initialise(self.fc1, generator)
            _initialise(self.fc2, generator)

    def forward(
        self, rep_BPTJR: Float[Tensor, "B P T J R"], counts_BPT: Bool[Tensor, "B P T"]
    ) -> Float[Tensor, "B classes"]:
        """Return the logits from those frames of those people that count; from zeros where none do."""
        share_BPT = counts_BPT / counts_BPT.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        dropped_BPTJR = functional.dropout(rep_BPTJR, self.config.dropout, self.training)
        mean_BJR = torch.einsum("bptjr,bpt->bjr", dropped_BPTJR, share_BPT.to(rep_BPTJR.dtype))
        return self.fc2(functional.relu(self.bn(self.fc1(mean_BJR.flatten(1)))))


def _initialise(layer: nn.Linear, generator: torch.Generator) -> None:
    """PyTorch's own initialisation of a linear layer, which the published head has, but from ``generator``."""
    bound = layer.in_features**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
