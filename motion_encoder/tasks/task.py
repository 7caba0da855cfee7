"""What a task is: everything that training, scoring, storing and serving need to know of it, in one value.

A task chooses clips, builds its network on an encoder, turns a batch into losses, and scores a model on held-out
people. It needs nothing but this library, so that a registered model can bring its task along. To add one, write a
module with a ``Recipe``, a ``Task`` and recipe functions (``pose`` and ``action`` are the examples) and name it in
``registry``; one of your own package is registered by ``register_task`` or an entry point.

Shapes: B clips, N segments.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from motion_encoder.clips import Clips
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import Sum
from motion_encoder.metrics import Score
from motion_encoder.model.dstformer import DSTformer
from motion_encoder.model.motion_model import MotionModel
from motion_encoder.shapes import Bool, Int
from motion_encoder.tasks.recipe import FinetuneRecipe, Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentTable:
    """What a task may choose clips by: one entry for each of the N segments of a split."""

    where: str
    """Store and split, for messages."""
    source_N: np.ndarray
    """Names of the sources."""
    sequence_N: np.ndarray
    """Ids of the sequences; the segments of a long sequence share one."""
    num_frames_N: Int[np.ndarray, "N"]
    has_3d_N: Bool[np.ndarray, "N"]
    label_N: Int[np.ndarray, "N"]
    """Index into the labels of the segment's source; -1 where there is none."""
    labels: Mapping[str, tuple[str, ...]]
    """Names of the classes by source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipChoice:
    """Which segments to train on, and how often."""

    chosen_N: Bool[np.ndarray, "N"]
    weights: Mapping[str, float] = field(default_factory=dict)
    """Share of the samples by source; sources left out weigh as much as they hold clips."""
    first_step: Mapping[str, int] = field(default_factory=dict)
    """First step of the sources that do not take part from the start."""


class Window(NamedTuple):
    """A batch of held-out windows."""

    segment_B: Int[np.ndarray, "B"]
    clips: Clips
    random: KeyedRandom
    """Keyed by the window alone, so that every model sees the same views."""


@runtime_checkable
class HeldOut(Protocol):
    """The people a model is scored on; the workers share the windows."""

    @property
    def table(self) -> SegmentTable:
        """Return what there is."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where the windows are."""
        ...

    def windows(self, chosen_N: Bool[np.ndarray, "N"], clip_frames: int) -> Iterator[Window]:
        """Yield this worker's windows: the chosen segments cut end to end, tails included."""
        ...

    def total(self, local: Tensor) -> Tensor:
        """Sum a tensor over all workers."""
        ...

    def protocol(self, clip_frames: int, source: str | None = None) -> dict[str, Any]:
        """Return what the protocol of a score says of data, split and clip length."""
        ...


R = TypeVar("R", bound=Recipe)
M = TypeVar("M", bound=MotionModel)
Network = Callable[..., Tensor]
"""The model as training calls it: wrapped where there are several workers, compiled where asked."""


class Task(ABC, Generic[R, M]):
    """What is learnt. Tasks have no state: all of it is in recipe and model."""

    name: ClassVar[str]
    """Name of the task: in descriptions of models, and behind the prefix of their names in a registry."""
    network: type[M]
    """Class of its models."""

    @abstractmethod
    def choose_clips(self, recipe: R, table: SegmentTable) -> ClipChoice:
        """Return what to train on.

        Called twice: before a cluster starts, with one row for each kind of segment that the store's manifest counts,
        and by every worker with the real table.

        Raises:
            ValueError: the store has nothing to learn this from, or an option of the recipe has no effect on it.
        """

    @abstractmethod
    def make_model(self, recipe: R, encoder: DSTformer, table: SegmentTable, generator: torch.Generator) -> M:
        """Put the task's head on an encoder; new weights are drawn from ``generator``."""

    def parameter_groups(self, recipe: R, model: M, *, pretrained: bool) -> list[dict[str, Any]]:
        """Return groups for the optimizer, each with a ``scale`` of the learning rate.

        A pretrained encoder follows ``recipe.finetuning``; all other weights have the scale 1.
        """
        if not pretrained or not isinstance(recipe, FinetuneRecipe):
            return [{"params": trainable(model), "scale": 1.0}]
        encoder: DSTformer = model.encoder
        groups = recipe.finetuning.parameter_groups(encoder, lr=1.0, pose_head=model is encoder)
        inside = set(encoder.parameters())
        head = [weight for weight in trainable(model) if weight not in inside]
        scaled = [{"params": group["params"], "scale": group["lr"]} for group in groups]
        return [*scaled, {"params": head, "scale": 1.0}] if head else scaled

    @abstractmethod
    def loss_weights(self, recipe: R) -> Mapping[str, float]:
        """Return the weight of every loss term; at least one."""

    @abstractmethod
    def losses(self, recipe: R, model: M, network: Network, clips: Clips, random: KeyedRandom) -> dict[str, Sum]:
        """Run the network on a batch; return sum and count of every term of ``loss_weights``.

        Args:
            recipe: its options.
            model: the bare model, for its attributes.
            network: what to call in its place.
            clips: this worker's clips, on its device.
            random: draws keyed by (seed, step, place in the global batch): the only source of randomness.
        """

    @abstractmethod
    def can_score(self, model: M, table: SegmentTable) -> bool:
        """Return whether the split has what ``score`` needs."""

    @abstractmethod
    def score(self, model: M, held_out: HeldOut, clip_frames: int) -> tuple[Score, ...]:
        """Score a model in eval mode; the first score decides between versions.

        Raises:
            ValueError: the split has nothing to score on.
        """


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that are not frozen."""
    return [weight for weight in model.parameters() if weight.requires_grad]
