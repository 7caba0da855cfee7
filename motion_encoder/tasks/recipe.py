"""Recipes: named, complete configurations of a training run.

A recipe is a function that returns a ``Recipe``; a command line only overrides its fields. Published values come from
the paper's section 4 and the released configuration files. The recipes called "published" use the published sizes,
schedules, learning rates, losses, noise and masks. All recipes make clips in our own way: random cameras, a target in
the camera's axes, windows around the person (``cameras``, ``windows``), random draws keyed by clip (``corruption``), 2D
and 3D in one batch (``losses``). Each of these modules says what the published code does and why ours differs.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

from motion_encoder.corruption import Corruption
from motion_encoder.finetuning import PartialFinetuning
from motion_encoder.model.dstformer import EncoderSize
from motion_encoder.observation import ViewOptions


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW: a linear warm-up, then an exponential decay of the learning rate until the last step."""

    steps: int
    """Number of optimizer steps of the whole run."""
    global_batch: int
    """Batch size: clips per optimizer step, over all workers."""
    lr: float
    """Highest learning rate, reached at the end of the warm-up."""
    final_lr_ratio: float = 0.4
    """Learning rate of the last step as a fraction of the highest one. The rate falls by the same factor at every step.
    (Published: by the factor 0.99 after every epoch, which is never more than 1 % different.)"""
    warmup_steps: int = 0
    """Number of steps over which the learning rate rises linearly to its highest value; 0 for no warm-up."""
    weight_decay: float = 0.01
    """AdamW's weight decay. As published, it applies to every parameter."""
    clip_norm: float | None = 1.0
    """Clip the norm of the gradient over all parameters to this value; None for no clipping, as published."""

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch", "lr", "clip_norm"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"optimisation.{name}: expected more than 0, found {value}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"optimisation.warmup_steps: expected 0 up to steps - 1 = {self.steps - 1}, found {self.warmup_steps}"
            )
        if not self.weight_decay >= 0:
            raise ValueError(f"optimisation.weight_decay: expected at least 0, found {self.weight_decay}")
        if not 0 < self.final_lr_ratio <= 1:
            raise ValueError(f"optimisation.final_lr_ratio: expected 0 to 1, found {self.final_lr_ratio}")

    def over(self, steps: int) -> "Optimisation":
        """Return the same schedule over another number of steps; the warm-up is scaled in proportion."""
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
    """The options that every task has: encoder, clips, cameras and corruption of the 2D input, optimizer."""

    task: ClassVar[str]
    """Name of the task that the recipe is for."""
    name: str
    """Name under which the recipe is recorded with the run."""
    encoder: EncoderSize
    """Size of the encoder. When a pretrained encoder is finetuned, it must have this size."""
    clip_frames: int
    """Length of the training clips in frames (T)."""
    optimisation: Optimisation
    cameras: ViewOptions = field(default_factory=ViewOptions)
    """Virtual cameras that turn 3D motion into 2D input, each range sampled uniformly for every clip; also the window
    around the person, and mirroring."""
    corruption: Corruption = field(default_factory=Corruption)
    """Noise and masks that are added to the 2D input in training."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass. With bfloat16 (autocast), weights and optimizer states stay in float32."""
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
        """Return the same recipe for another number of steps."""
        return replace(self, optimisation=self.optimisation.over(steps))

    def to_tree(self) -> dict[str, Any]:
        """Return the recipe as plain data, with all overrides: this is what a run stores."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """The options that every task on a pretrained encoder has."""

    finetuning: PartialFinetuning = field(default_factory=PartialFinetuning)
    """Learning rates and freezing of the parts of a pretrained encoder, counted from the input: 0 the embeddings, then
    one part per level, then the representation. They have no effect on an encoder that is trained from scratch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = self.encoder.depth + 2
        if self.finetuning.frozen > parts:
            raise ValueError(
                f"finetuning.frozen: expected at most the encoder's {parts} parts, found {self.finetuning.frozen}"
            )


WINDOW_NOISE = Corruption(noise_scale=2.0)
"""The published noise is in units of half the image width, of which a person fills about half (AMASS: 0.25 to each
side, standing; Human3.6M: 0.3 to 0.4). Our windows are tight around the person."""
NO_CORRUPTION = Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0, noise_scale=0.0)
