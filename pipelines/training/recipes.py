"""Named, complete configurations of a run. A recipe is a function that returns one; the command line only overrides.

Published values come from the paper's section 4 and the released configuration files. The published recipes have
their sizes, schedules, learning rates, losses, noise and masks. How clips are made is ours in all recipes: random
cameras, a target in the camera's axes, windows around the person (``cameras``, ``windows``), keyed draws per clip
(``corruption``), 2D and 3D in one batch (``losses``). Each of these modules says what the published code does and why
this differs.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from motion_encoder.corruption import Corruption
from motion_encoder.losses import LossWeights
from motion_encoder.model.dstformer import SIZES, DSTformerConfig
from motion_encoder.model.heads import ActionHeadConfig
from motion_encoder.observation import ViewOptions


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW with a linear warm-up and an exponential decay to ``final_lr_ratio`` over all steps."""

    steps: int
    """Optimizer steps of the whole run."""
    global_batch: int
    """Clips per step over all workers; the loss curve does not depend on how many share them."""
    lr: float
    """Learning rate after the warm-up."""
    final_lr_ratio: float = 0.4
    """Learning rate of the last step over the highest. It falls by the same factor at every step (published: by 0.99
    after every epoch, which differs by at most 1 % on the way)."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's weight decay, on every parameter as published."""
    clip_norm: float | None = 1.0
    """Largest norm of the whole gradient; None leaves it as it is, as published."""

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
        """Return the same over another number of steps; the warm-up shrinks or grows with it."""
        return replace(self, steps=steps, warmup_steps=self.warmup_steps * steps // self.steps)

    def lr_at(self, step: int) -> float:
        """Learning rate of a step (from 0): a pure function, so that resuming needs no scheduler state."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - 1 - self.warmup_steps)
        return self.lr * self.final_lr_ratio**progress


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every task needs: a network, clips, how they are looked at and spoilt, how weights are moved."""

    name: str
    """What the recipe is called in the run's record."""
    encoder: DSTformerConfig
    """Size of the encoder; one that a task starts from must have it."""
    clip_frames: int
    """Frames T of a clip."""
    optimisation: Optimisation
    views: ViewOptions = field(default_factory=ViewOptions)
    """How clips are looked at."""
    corruption: Corruption = field(default_factory=Corruption)
    """How the 2D input is spoilt."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass; weights and optimizer stay float32."""
    seed: int = 0
    """Of weights, order, views, noise, masks and dropout."""

    def __post_init__(self) -> None:
        if not 1 <= self.clip_frames <= self.encoder.max_frames:
            raise ValueError(
                f"clip_frames: expected 1 to the encoder's {self.encoder.max_frames}, found {self.clip_frames}"
            )
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, found {self.seed}")


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(Recipe):
    """Recover 3D motion from masked, noisy 2D; 3D and 2D-only sources in one batch."""

    task: ClassVar[Literal["encoder"]] = "encoder"
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the loss terms."""
    source_weights: tuple[tuple[str, float], ...] = ()
    """(source, weight) pairs; sources left out weigh as much as they hold clips."""
    wild_from_step: int = 0
    """First step at which 2D-only sources take part (published: after a third of the epochs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        last = self.optimisation.steps - 1
        if not 0 <= self.wild_from_step <= last:
            raise ValueError(f"wild_from_step: expected 0 to the last step {last}, found {self.wild_from_step}")
        names = [name for name, _ in self.source_weights]
        if len(set(names)) < len(names) or not all(0 < weight < float("inf") for _, weight in self.source_weights):
            raise ValueError(
                f"source_weights: expected each source once, with a weight > 0, found {self.source_weights}"
            )


@dataclass(frozen=True, kw_only=True)
class Pose3dRecipe(Recipe):
    """3D pose from 2D: the encoder's own head, every weight trained alike."""

    task: ClassVar[Literal["pose3d"]] = "pose3d"
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the loss terms."""


@dataclass(frozen=True, kw_only=True)
class ActionRecipe(Recipe):
    """Name the action of a 2D sequence: a new head on the representation."""

    task: ClassVar[Literal["action"]] = "action"
    hidden: int = 2048
    """Channels of the head's hidden layer."""
    dropout: float = 0.5
    """Dropout of the representation."""
    encoder_lr_scale: float = 0.1
    """Learning rate of a pretrained encoder over the head's; an encoder from scratch learns like the head."""
    label_source: str | None = None
    """Whose labels to learn; needed only where several sources have some."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.encoder_lr_scale < float("inf"):
            raise ValueError(f"encoder_lr_scale: expected a number > 0, found {self.encoder_lr_scale}")
        _ = self.head  # checks its sizes

    @property
    def head(self) -> ActionHeadConfig:
        """Size of the head."""
        return ActionHeadConfig(hidden=self.hidden, dropout=self.dropout)


FinetuneRecipe = Pose3dRecipe | ActionRecipe


def motionbert() -> PretrainRecipe:
    """The published recipe: 42.5 M parameters, T = 243, batch 64, 90 epochs of 1,312 steps, 2D after a third.

    An epoch is counted by its 3D clips. The published one then goes through all 2D clips too, in batches (and clips of
    30 or 81 frames) of their own; here they take part in every batch.
    """
    steps = 90 * 1312
    return PretrainRecipe(
        name="motionbert",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=steps, global_batch=64, lr=5e-4, final_lr_ratio=0.99**90, clip_norm=None),
        corruption=_WINDOW_NOISE,
        wild_from_step=steps // 3,
    )


def motionbert_lite() -> PretrainRecipe:
    """The published recipe for the 16.0 M parameter encoder."""
    return replace(motionbert(), name="motionbert_lite", encoder=SIZES["motionbert_lite"])


def laptop() -> PretrainRecipe:
    """A tiny encoder for two cores: a minute or two, enough to see every part work and the error fall."""
    return PretrainRecipe(
        name="laptop",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=800, global_batch=16, lr=8e-3, final_lr_ratio=0.1, warmup_steps=20),
        corruption=replace(_WINDOW_NOISE, keyframes=3),
        losses=_SHORT_RUN,
    )


# With the published weight of 20, a short run learns to stand still before it learns which way a limb points.
_SHORT_RUN = LossWeights(velocity=4.0)
# The published noise is in units of half a picture's width, of which a person fills about half (AMASS: 0.25 to each
# side, standing; Human3.6M: 0.3 to 0.4). Our windows are tight around the person.
_WINDOW_NOISE = Corruption(noise_scale=2.0)
_NONE = Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0, noise_scale=0.0)


def pose3d() -> Pose3dRecipe:
    """3D pose as published: 60 epochs of 17,748 clips at batch 32, learning rate 2e-4 for the whole network, no masks.

    The published input are detections with their errors; here it is projected 3D, so it gets a detector's noise.
    """
    return Pose3dRecipe(
        name="pose3d",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=60 * 555, global_batch=32, lr=2e-4, final_lr_ratio=0.99**60, clip_norm=None),
        corruption=Corruption(joint_mask_ratio=0.0, frame_mask_ratio=0.0, noise_scale=2.0),
    )


def action() -> ActionRecipe:
    """Action recognition, schedule and head as published: 300 epochs of NTU-60 at batch 32, learning rate 1e-3.

    A pretrained encoder has a tenth of that rate. The input is ours: one person in a window of 1 to 1.25 times their
    size, 3D seen by a random camera. The published input is both people as detected, in a window of 1 to 3 times their
    size, rotated, scaled and moved at random (``motion_encoder.action_input`` has it without the latter).
    """
    return ActionRecipe(
        name="action",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=300 * 1250, global_batch=32, lr=1e-3, final_lr_ratio=0.99**300, clip_norm=None),
        corruption=_NONE,
    )


def laptop_pose3d() -> Pose3dRecipe:
    """3D pose for the tiny encoder: about half a minute on one core."""
    return Pose3dRecipe(
        name="laptop_pose3d",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=200, global_batch=16, lr=4e-3, final_lr_ratio=0.1, warmup_steps=20),
        corruption=_NONE,
        losses=_SHORT_RUN,
    )


def laptop_action() -> ActionRecipe:
    """Action recognition for the tiny encoder: about half a minute on one core."""
    return ActionRecipe(
        name="laptop_action",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=200, global_batch=16, lr=2e-3, final_lr_ratio=0.1, warmup_steps=10),
        corruption=_NONE,
        hidden=256,
        dropout=0.1,
        encoder_lr_scale=0.3,
    )


PRETRAIN: Mapping[str, Callable[[], PretrainRecipe]] = {
    recipe.__name__: recipe for recipe in (motionbert, motionbert_lite, laptop)
}
FINETUNE: Mapping[str, Callable[[], FinetuneRecipe]] = {
    recipe.__name__: recipe for recipe in (pose3d, action, laptop_pose3d, laptop_action)
}


def as_tree(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as plain data, as it is stored with the run."""
    return asdict(recipe)
