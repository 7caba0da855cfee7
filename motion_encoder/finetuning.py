"""Partial finetuning: which weights of a pretrained encoder move, and how fast.

Layers near the input of a network learn features that are useful for every task; layers near the output are specific to
the task that it was trained for. So the lower levels may be frozen, and the learning rate may decrease from level to
level towards the input (Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018, section 3.2: by a factor of
1/2.6 per level; 0.75 and more for transformers).
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from motion_encoder.model.dstformer import DSTformer


@dataclass(frozen=True, kw_only=True)
class PartialFinetuning:
    """How a pretrained encoder takes part in finetuning.

    Its parts are counted from the input: part 0 is the embeddings, parts 1 to ``depth`` are the levels, and part
    ``depth`` + 1 is the final norm, the representation and the pose head. An encoder that is trained from scratch has
    the learning rate of the head everywhere.
    """

    lr_scale: float = 1.0
    """Learning rate of the encoder's last part, as a multiple of the learning rate of the task's own head."""
    lr_decay: float = 1.0
    """Learning rate of each part, as a multiple of that of the next part towards the output; 1 for equal rates."""
    frozen: int = 0
    """Number of parts to freeze, counted from the input; 0 trains the whole encoder."""

    def __post_init__(self) -> None:
        for name in ("lr_scale", "lr_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a positive number, found {getattr(self, name)}")
        if self.frozen < 0:
            raise ValueError(f"frozen: expected a number of parts, found {self.frozen}")

    def parameter_groups(self, encoder: DSTformer, *, lr: float, pose_head: bool = True) -> list[dict[str, Any]]:
        """Freeze the first ``frozen`` parts; return the others as parameter groups for an optimizer.

        Args:
            encoder: the encoder, whose weights are set to trainable or frozen.
            lr: learning rate of the task's own head.
            pose_head: whether the task uses the encoder's own 3D head. Pass False for a task with another head: the 3D
                head then gets no gradient, so it has to be frozen for data-parallel training.

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
