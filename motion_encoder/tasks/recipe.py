"""Recipes: named, complete configurations of a training run.

A recipe is a function that returns a ``Recipe``; a command line only overrides its fields. Published values come from
the paper's section 4 and the released configuration files; where a recipe departs from them, the component says why.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

from motion_encoder.corruption import Corruption
from motion_encoder.finetuning import PartialFinetuning
from motion_encoder.model.dstformer import EncoderSize
from motion_encoder.observation import ViewOptions


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW with a linear warm-up and an exponential decay to ``final_lr_ratio`` over all steps."""

    steps: int
    """Optimizer steps of the whole run."""
    global_batch: int
    """Clips per step, over all workers."""
    lr: float
    """Learning rate after the warm-up."""
    final_lr_ratio: float = 0.4
    """Learning rate of the last step divided by the highest (published: 0.99 an epoch, 0.4 over 90 epochs)."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's weight decay, on every parameter as published."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch", "lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optimisation.{name}: expected more than 0, found {getattr(self, name)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"optimisation.warmup_steps: expected 0 up to steps - 1 = {self.steps - 1}, found {self.warmup_steps}"
            )
        if not self.weight_decay >= 0:
            raise ValueError(f"optimisation.weight_decay: expected at least 0, found {self.weight_decay}")
        if not 0 < self.final_lr_ratio <= 1:
            raise ValueError(f"optimisation.final_lr_ratio: expected 0 to 1, found {self.final_lr_ratio}")

    def over(self, steps: int) -> "Optimisation":
        """Return the same over another number of steps; the warm-up is scaled with it."""
        return replace(self, steps=steps, warmup_steps=self.warmup_steps * steps // self.steps)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step (from 0): a pure function, so resuming needs no scheduler state."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - 1 - self.warmup_steps)
        return self.lr * self.final_lr_ratio**progress


R = TypeVar("R", bound="Recipe")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every task needs: an encoder, clips, the views and corruption of their 2D input, an optimizer."""

    task: ClassVar[str]
    """Name of the task that the recipe is for."""
    name: str
    """Name of the recipe in the run's record."""
    encoder: EncoderSize
    """Size of the encoder. A pretrained encoder must have the same size."""
    clip_frames: int
    """Frames T of a clip."""
    optimisation: Optimisation
    cameras: ViewOptions = field(default_factory=ViewOptions)
    """Virtual cameras."""
    corruption: Corruption = field(default_factory=Corruption)
    """2D noise and masking."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights and optimizer stay float32."""
    seed: int = 0
    """Random seed for weights, sample order, cameras, noise, masks and dropout."""

    def __post_init__(self) -> None:
        if not 1 <= self.clip_frames <= self.encoder.max_frames:
            raise ValueError(
                f"clip_frames: expected 1 to the encoder's {self.encoder.max_frames}, found {self.clip_frames}"
            )
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, found {self.seed}")

    def over(self: R, steps: int) -> R:
        """Return the same recipe over another number of steps."""
        return replace(self, optimisation=self.optimisation.over(steps))

    def to_tree(self) -> dict[str, Any]:
        """Return the resolved recipe as plain data, as it is stored with a run."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """What every task on a pretrained encoder needs."""

    finetuning: PartialFinetuning = field(default_factory=PartialFinetuning)
    """Learning rates and freezing of a pretrained encoder; without effect on one from scratch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = self.encoder.depth + 2
        if self.finetuning.frozen > parts:
            raise ValueError(
                f"finetuning.frozen: expected at most the encoder's {parts} parts, found {self.finetuning.frozen}"
            )


WINDOW_NOISE = Corruption(noise_scale=2.0)
"""The published noise, in units of a frame that a person half fills; our windows are filled by the person."""
NO_CORRUPTION = Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0, noise_scale=0.0)
