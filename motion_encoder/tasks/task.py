"""The interface of a task: everything that training, scoring, storing and serving need to know about it.

A task chooses clips, builds its network on an encoder, computes the losses of a batch, and scores a model on held-out
people. It depends only on this library, so that it can be stored with a registered model. To add a task, write a module
with a ``Recipe``, a ``Task`` and recipe functions (see ``pose`` and ``action``), and list it in ``registry``. A task in
your own package is registered by ``register_task`` or an entry point.

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
    """The facts by which a task chooses clips: one entry for each of the N segments of a split."""

    where: str
    """Name of the store and the split, for messages."""
    source_N: np.ndarray
    """Names of the sources."""
    sequence_N: np.ndarray
    """Ids of the sequences; the segments of a long sequence share one."""
    num_frames_N: Int[np.ndarray, "N"]
    has_3d_N: Bool[np.ndarray, "N"]
    label_N: Int[np.ndarray, "N"]
    """Index into the labels of the segment's source; -1 if the segment has no label."""
    labels: Mapping[str, tuple[str, ...]]
    """Class names of each source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipChoice:
    """Which segments to train on, and how often."""

    chosen_N: Bool[np.ndarray, "N"]
    weights: Mapping[str, float] = field(default_factory=dict)
    """How often to sample each source. A source that is not listed has its number of clips as its weight."""
    first_step: Mapping[str, int] = field(default_factory=dict)
    """First step of each source that does not take part from the start."""


class Window(NamedTuple):
    """A batch of held-out windows."""

    segment_B: Int[np.ndarray, "B"]
    clips: Clips
    random: KeyedRandom
    """Random numbers that depend only on the window, so that every model sees the same views."""


@runtime_checkable
class HeldOut(Protocol):
    """The people that a model is scored on; their windows are divided among the workers."""

    @property
    def table(self) -> SegmentTable:
        """Return the segments of the split."""
        ...

    @property
    def device(self) -> torch.device:
        """Return the device of the windows."""
        ...

    def windows(self, chosen_N: Bool[np.ndarray, "N"], clip_frames: int) -> Iterator[Window]:
        """Yield this worker's windows: the chosen segments, cut into consecutive windows that cover every frame."""
        ...

    def total(self, local: Tensor) -> Tensor:
        """Sum a tensor over all workers."""
        ...

    def protocol(self, clip_frames: int, source: str | None = None) -> dict[str, Any]:
        """Return the fields of a protocol that describe data, split and clip length."""
        ...


R = TypeVar("R", bound=Recipe)
M = TypeVar("M", bound=MotionModel)
Network = Callable[..., Tensor]
"""The model as training calls it: wrapped for data-parallel training, and compiled if that is switched on."""


class Task(ABC, Generic[R, M]):
    """What a model is trained for. A task has no state: all state is in the recipe and the model."""

    name: ClassVar[str]
    """Name of the task, which is part of a model's description and of its name in a registry."""
    network: type[M]
    """Class of the task's models."""

    @abstractmethod
    def choose_clips(self, recipe: R, table: SegmentTable) -> ClipChoice:
        """Return the segments to train on.

        It is called twice: before a cluster starts, with one row for each kind of segment that the store's manifest
        counts, and by every worker with the real table.

        Raises:
            ValueError: the store has no data for this task, or an option of the recipe has no effect on it.
        """

    @abstractmethod
    def make_model(self, recipe: R, encoder: DSTformer, table: SegmentTable, generator: torch.Generator) -> M:
        """Put the task's head on an encoder; new weights are drawn from ``generator``."""

    def parameter_groups(self, recipe: R, model: M, *, pretrained: bool) -> list[dict[str, Any]]:
        """Return parameter groups for the optimizer, each with a ``scale`` for the learning rate.

        The scales of a pretrained encoder are set by ``recipe.finetuning``; all other weights have the scale 1.
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
        """Return the weight of every loss term; there must be at least one."""

    @abstractmethod
    def losses(self, recipe: R, model: M, network: Network, clips: Clips, random: KeyedRandom) -> dict[str, Sum]:
        """Run the network on a batch; return sum and count of every term of ``loss_weights``.

        Args:
            recipe: the options of the task.
            model: the unwrapped model, for its attributes.
            network: the wrapped model, to call instead of ``model``.
            clips: this worker's clips, on its device.
            random: random draws keyed by (seed, step, position in the global batch); do not use others.
        """

    @abstractmethod
    def can_score(self, model: M, table: SegmentTable) -> bool:
        """Return whether the split has what ``score`` needs."""

    @abstractmethod
    def score(self, model: M, held_out: HeldOut, clip_frames: int) -> tuple[Score, ...]:
        """Score a model in eval mode; the first score is used to compare versions.

        Raises:
            ValueError: the split has no data to score this task on.
        """


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that are not frozen."""
    return [weight for weight in model.parameters() if weight.requires_grad]
