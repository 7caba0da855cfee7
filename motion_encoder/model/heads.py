"""The action head, the model that combines it with an encoder, and a batch norm over all workers.

The 3D pose head is DSTformer's own last layer, ``head`` (``dim_rep`` → 3): a 3D pose model is a plain ``DSTformer``.

The action head is the published one (``ActionHeadClassification`` of the published code: for 60 classes 17,954,876
parameters under the names fc1, bn and fc2), except for how it averages. The published code averages over all frames and
people in the sample, including padding and the absent second person of one-person clips. Here, padded frames and people
who were never observed do not count. If a sample has neither, the results are equal. Weights that were trained with the
published averages need them at test time, too: ``ActionHeadConfig.published_means``.

Shapes: B samples, P people, T frames, J joints, C channels, R channels of the representation, H hidden channels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from motion_encoder.json_data import read_dataclass
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.model.dstformer import DSTformer, DSTformerConfig
from motion_encoder.model.motion_model import MotionModel
from motion_encoder.shapes import Bool, Float

CONFIDENCE = 2  # the channel of the network's input


@dataclass(frozen=True, kw_only=True)
class ActionHeadConfig:
    """Size of an action head; the defaults are the published ones."""

    hidden: int = 2048
    """Number of channels of the hidden layer."""
    dropout: float = 0.5
    """Share of the representation that is set to zero in training (dropout)."""
    published_means: bool = False
    """Average over all people in the sample, including those who were never observed, as the published code does.

    It is set in models that are read from published files, whose scores include the absent second person of one-person
    clips in the mean. Padded frames never count.
    """

    def __post_init__(self) -> None:
        if not self.hidden > 0:
            raise ValueError(f"head.hidden: expected a positive number, found {self.hidden}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"head.dropout: expected a share in [0, 1), found {self.dropout}")


class ActionModel(MotionModel):
    """Classifies the action of up to P people who move together.

    The model uses the given encoder itself, not a copy, and freezes its 3D pose head: that head gets no gradient here,
    which data-parallel training does not allow for trainable weights.

    Args:
        encoder: computes the representation to classify.
        labels: names of the classes, in the order of the logits.
        config: size of the head.
        generator: generator of the head's initial weights; unused under ``torch.device("meta")``.
        label_source: data set that the labels belong to; None if unknown.

    Raises:
        ValueError: there are no labels, or one of them appears twice.
    """

    dimensions = ("clips", "people", "frames")
    output_names = ("logits",)
    prediction_shape = (-1, -1)

    def __init__(
        self,
        encoder: DSTformer,
        labels: tuple[str, ...],
        config: ActionHeadConfig,
        generator: torch.Generator,
        *,
        label_source: str | None = None,
    ) -> None:
        super().__init__()
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"action model: expected different names of classes as labels, found {labels}")
        self.labels = labels
        self.label_source = label_source
        self.encoder = encoder
        self.encoder.head.requires_grad_(False)
        self.head = ActionHead(config, encoder.config, len(labels), generator)

    def head_settings(self) -> dict[str, Any]:
        """Return the head's size, the labels and their source."""
        return asdict(self.head.config) | {"labels": list(self.labels), "label_source": self.label_source}

    @classmethod
    def from_settings(cls, encoder: DSTformer, settings: Mapping[str, Any]) -> "ActionModel":
        """Build the model; see ``MotionModel.from_settings``."""
        labels = settings.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"labels: expected a list of names, found {str(labels)[:80]}")
        if not isinstance(source := settings.get("label_source"), str | None):
            raise ValueError(f"label_source: expected a name or null, found {source!r}")
        size = {name: value for name, value in settings.items() if name not in ("labels", "label_source")}
        config = read_dataclass(ActionHeadConfig, size)
        return cls(encoder, tuple(labels), config, torch.Generator(), label_source=source)

    def forward(
        self,
        x_BPTJC: Float[Tensor, "B P T J C"],
        valid_BT: Bool[Tensor, "B T"] | None = None,
        keep_BPTJR: Bool[Tensor, "B P T J R"] | None = None,
    ) -> Float[Tensor, "B classes"]:
        """Return the logits.

        Args:
            x_BPTJC: x and y in window units, and confidence. An absent person has confidence 0 everywhere and does not
                count, unless the head has ``published_means``.
            valid_BT: the frames that are not padding, for all people of the sample; all frames by default.
            keep_BPTJR: which values dropout keeps (see ``draw_dropout``); by default they are drawn from torch's own
                generator in training.

        Raises:
            ValueError: as in ``DSTformer.encode``.
        """
        num_people = x_BPTJC.shape[1]
        valid_NT = None if valid_BT is None else valid_BT[:, None].expand(-1, num_people, -1).flatten(0, 1)
        rep_BPTJR = self.encoder.encode(x_BPTJC.flatten(0, 1), valid_NT).unflatten(0, (-1, num_people))
        observed_BPT = (x_BPTJC[..., CONFIDENCE] > 0).any(dim=-1)
        counts_BPT = torch.ones_like(observed_BPT) if valid_BT is None else valid_BT[:, None].expand_as(observed_BPT)
        if self.head.config.published_means:
            return self.head(rep_BPTJR, counts_BPT, keep_BPTJR)
        present_BP1 = (observed_BPT & counts_BPT).any(dim=-1, keepdim=True)
        return self.head(rep_BPTJR, counts_BPT & present_BP1, keep_BPTJR)

    def draw_dropout(self, random: KeyedRandom, people: int, frames: int) -> Bool[Tensor, "B P T J R"] | None:
        """Draw which values of the representation dropout keeps, keyed by clip; None if the head has no dropout.

        With keyed draws, a step does not depend on the number of workers; with torch's generator it would.
        """
        if not self.head.config.dropout:
            return None
        encoder = self.encoder.config
        shape = (people, frames, encoder.num_joints, encoder.dim_rep)
        return random.uniform("head/dropout", *shape) >= self.head.config.dropout

    def outputs(self, keypoints: Tensor, valid: Bool[Tensor, "B T"] | None = None) -> dict[str, Tensor]:
        """Return the logits; see ``MotionModel.outputs``."""
        return {"logits": self(keypoints, valid)}

    def predict(self, x_BTJC: Float[Tensor, "B T J C"]) -> Float[Tensor, "B classes"]:
        """Return the logits of clips of one person."""
        return self(x_BTJC[:, None])


class ActionHead(nn.Module):
    """Maps the representations of a sample's people to logits: means over time and people, then two layers."""

    def __init__(
        self, config: ActionHeadConfig, encoder: DSTformerConfig, num_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(encoder.num_joints * encoder.dim_rep, config.hidden)
        self.bn = BatchNormAcrossWorkers(config.hidden)
        self.fc2 = nn.Linear(config.hidden, num_classes)
        if not self.fc1.weight.is_meta:
            _initialise(self.fc1, generator)
            _initialise(self.fc2, generator)

    def forward(
        self,
        rep_BPTJR: Float[Tensor, "B P T J R"],
        counts_BPT: Bool[Tensor, "B P T"],
        keep_BPTJR: Bool[Tensor, "B P T J R"] | None = None,
    ) -> Float[Tensor, "B classes"]:
        """Return the logits from the frames and people that count; if none count, from zeros."""
        share_BPT = counts_BPT / counts_BPT.sum(dim=(1, 2), keepdim=True).clamp_min(1)
        mean_BJR = torch.einsum("bptjr,bpt->bjr", self._drop(rep_BPTJR, keep_BPTJR), share_BPT.to(rep_BPTJR.dtype))
        return self.fc2(functional.relu(self.bn(self.fc1(mean_BJR.flatten(1)))))

    def _drop(self, rep_BPTJR: Tensor, keep_BPTJR: Tensor | None) -> Tensor:
        if keep_BPTJR is None:
            return functional.dropout(rep_BPTJR, self.config.dropout, self.training)
        return rep_BPTJR * keep_BPTJR / (1 - self.config.dropout)


class BatchNormAcrossWorkers(nn.BatchNorm1d):
    """Batch norm whose training statistics are over the clips of all workers.

    The result does not depend on the number of workers, or on how a batch is divided among them (PyTorch's
    ``SyncBatchNorm`` does the same, but only on GPUs). In a single process it equals ``nn.BatchNorm1d``.
    """

    def forward(self, input: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """Normalise each channel over the global batch, or in eval mode by the running statistics."""
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return super().forward(input)
        x_BH = input.float()
        count, mean_H = _mean_across_workers(x_BH)
        _, variance_H = _mean_across_workers((x_BH - mean_H).square())
        self._follow(mean_H.detach(), variance_H.detach() * count / (count - 1).clamp_min(1))
        normal_BH = (x_BH - mean_H) * torch.rsqrt(variance_H + self.eps)
        return (normal_BH * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean_H: Tensor, variance_H: Tensor) -> None:
        """Update the running statistics; the variance is unbiased, as in ``nn.BatchNorm1d``."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean_H, self.momentum)
        self.running_var.lerp_(variance_H, self.momentum)
        self.num_batches_tracked += 1


def _mean_across_workers(x_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of rows of all workers, and their mean, whose gradients flow to every worker."""
    local = torch.cat([x_BH.sum(dim=0), x_BH.new_full((1,), len(x_BH))])
    total = _SumAcrossWorkers.apply(local)
    count = total[-1].detach()
    return count, total[:-1] / count


class _SumAcrossWorkers(torch.autograd.Function):
    """Sum over workers. Every worker uses the sum, so each worker's part gets the sum of all gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        return _all_reduced(local)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _all_reduced(grad_outputs[0])


def _all_reduced(local: Tensor) -> Tensor:
    total = local.clone()
    dist.all_reduce(total)
    return total


def _initialise(layer: nn.Linear, generator: torch.Generator) -> None:
    """Initialise like PyTorch's linear layer, as in the published head, but with draws from ``generator``."""
    bound = layer.in_features**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
