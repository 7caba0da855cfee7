"""Partial finetuning: which weights of a pretrained encoder move, and how fast.

What an encoder learned first, near its input, holds for every task; what it learned last suits the task it was trained
for. So the levels below may be frozen, and the learning rate may fall from level to level towards the input (Howard and
Ruder, "Universal Language Model Fine-tuning", ACL 2018, section 3.2: 1/2.6 a level; 0.75 and more for transformers).
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from motion_encoder.model.dstformer import DSTformer


@dataclass(frozen=True, kw_only=True)
class PartialFinetuning:
    """How a pretrained encoder takes part in finetuning; one from scratch learns like the head.

    Its parts are counted from the input: 0 are the embeddings, 1 to ``depth`` the levels, ``depth`` + 1 the final norm,
    the representation and the pose head.
    """

    lr_scale: float = 1.0
    """Learning rate of the encoder's last part divided by the head's."""
    lr_decay: float = 1.0
    """Learning rate of each part divided by that of the part above it."""
    frozen: int = 0
    """Number of parts, from the input on, that do not move at all."""

    def __post_init__(self) -> None:
        for name in ("lr_scale", "lr_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a positive number, found {getattr(self, name)}")
        if self.frozen < 0:
            raise ValueError(f"frozen: expected a number of parts, found {self.frozen}")

    def parameter_groups(self, encoder: DSTformer, *, lr: float, pose_head: bool = True) -> list[dict[str, Any]]:
        """Freeze what is to be frozen, and return the rest as groups for an optimizer, each with its ``lr``.

        Args:
            encoder: its weights are made trainable or frozen.
            lr: learning rate of the head on it.
            pose_head: whether the task uses the encoder's own 3D head. Below another head it gets no gradient, which
                data-parallel training has to know: with False it is frozen.

        Raises:
            ValueError: more parts are to be frozen than the encoder has.
        """
        head = set(encoder.head.parameters())
        parts = [[weight for weight in part if pose_head or weight not in head] for part in _parts(encoder)]
        if self.frozen > len(parts):
            raise ValueError(f"frozen: expected at most the {len(parts)} parts of this encoder, found {self.frozen}")
        encoder.head.requires_grad_(False)
        for index, part in enumerate(parts):
            for weight in part:
                weight.requires_grad_(index >= self.frozen)
        last = len(parts) - 1
        return [
            {"params": parts[index], "lr": lr * self.lr_scale * self.lr_decay ** (last - index)}
            for index in range(self.frozen, len(parts))
        ]


def _parts(encoder: DSTformer) -> list[list[nn.Parameter]]:
    depth = encoder.config.depth
    parts: list[list[nn.Parameter]] = [[] for _ in range(depth + 2)]
    for name, weight in encoder.named_parameters():
        first, second = name.split(".")[:2] if "." in name else (name, "")
        if first in ("temp_embed", "pos_embed", "joints_embed"):
            parts[0].append(weight)
        elif first in ("blocks_st", "blocks_ts", "ts_attn"):
            parts[1 + int(second)].append(weight)
        else:
            parts[depth + 1].append(weight)
    return parts
