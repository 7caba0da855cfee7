"""Pose tasks: pretraining and 3D pose finetuning recover 3D motion from 2D with the encoder's own head.

Scores are means over the frames of held-out people. Every window is seen by one virtual camera. The deciding score is
root-relative and at true scale.

Shapes: B clips, T frames, J = 17 joints, N segments, M metrics.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from motion_encoder import metrics
from motion_encoder.clips import Clips
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import LossWeights, Sum, pose_losses
from motion_encoder.metrics import Protocol, Score
from motion_encoder.model.dstformer import SIZES, DSTformer
from motion_encoder.observation import TEST_VIEWS, Observation, clean_input, corrupted_input, observe
from motion_encoder.tasks.recipe import NO_CORRUPTION, WINDOW_NOISE, FinetuneRecipe, Optimisation, Recipe
from motion_encoder.tasks.task import ClipChoice, HeldOut, Network, SegmentTable, Task

MM_PER_M = 1000
Alignment = Literal["root", "procrustes"]
Scale = Literal["true", "fitted"]

METRICS: Mapping[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Alignment, Scale]] = {
    "mpjpe_mm": (metrics.mpjpe, "root", "true"),
    "p_mpjpe_mm": (metrics.p_mpjpe, "procrustes", "fitted"),
}
"""The reported metrics, the deciding one first: the function (an error per frame [B, T]), its alignment, its scale."""


@dataclass(frozen=True, kw_only=True)
class PoseRecipe(Recipe):
    """The options of the pose tasks."""

    losses: LossWeights = field(default_factory=LossWeights)
    """Weight of each loss term; a term of weight 0 is not computed. Distances are in window units (half of the window's
    side is 1)."""


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(PoseRecipe):
    """Pretraining: recover 3D motion from masked, noisy 2D. 3D and 2D-only sources share each batch."""

    task: ClassVar[str] = "encoder"
    source_weights: tuple[tuple[str, float], ...] = ()
    """How often to sample each source: pairs of a source's name and its weight. A source that is not listed has its
    number of clips as its weight."""
    detections_from_step: int = 0
    """Step at which 2D-only sources join the training (published: after a third of the epochs). Set it to 0 if the
    store has no such source, or no other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        last = self.optimisation.steps - 1
        if not 0 <= self.detections_from_step <= last:
            raise ValueError(
                f"detections_from_step: expected 0 to the last step {last}, found {self.detections_from_step}"
            )
        names = [name for name, _ in self.source_weights]
        if len(set(names)) < len(names) or not all(0 < weight < float("inf") for _, weight in self.source_weights):
            raise ValueError(
                f"source_weights: expected each source once, with a weight > 0, found {self.source_weights}"
            )


@dataclass(frozen=True, kw_only=True)
class Pose3dRecipe(PoseRecipe, FinetuneRecipe):
    """3D pose: recover 3D motion from 2D with the encoder's own head."""

    task: ClassVar[str] = "pose3d"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetuning.frozen > self.encoder.depth + 1:
            raise ValueError(
                f"finetuning.frozen: expected at most {self.encoder.depth + 1}, since the last part holds the pose "
                f"head, found {self.finetuning.frozen}"
            )


R = TypeVar("R", bound=PoseRecipe)


class PoseTask(Task[R, DSTformer]):
    """Recover the 3D motion, or the clean 2D where there is no 3D, from a corrupted 2D view."""

    network = DSTformer

    def make_model(self, recipe: R, encoder: DSTformer, table: SegmentTable, generator: torch.Generator) -> DSTformer:
        """Return the encoder: its last layer is the pose head."""
        return encoder

    def loss_weights(self, recipe: R) -> Mapping[str, float]:
        """Return the non-zero weights of the recipe."""
        return recipe.losses.active

    def losses(
        self, recipe: R, model: DSTformer, network: Network, clips: Clips, random: KeyedRandom
    ) -> dict[str, Sum]:
        """Project and corrupt the clips, run the network, and compare the output with the known joints."""
        observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, recipe.cameras)
        pred_BTJ3 = network(corrupted_input(observation, random, recipe.corruption), clips.valid_BT)
        return pose_losses(
            pred_BTJ3, observation.target_BTJ3, observation.confidence_BTJ, clips.has_depth_B, recipe.losses
        )

    def can_score(self, model: DSTformer, table: SegmentTable) -> bool:
        """Return whether the split has 3D motion."""
        return bool(table.has_3d_N.any())

    @torch.inference_mode()
    def score(self, model: DSTformer, held_out: HeldOut, clip_frames: int) -> tuple[Score, ...]:
        """Score positions under each metric of ``METRICS``: means over frames, in mm."""
        sums_M = torch.zeros(1 + len(METRICS), dtype=torch.float64, device=held_out.device)
        for _, clips, random in held_out.windows(held_out.table.has_3d_N, clip_frames):
            observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, TEST_VIEWS)
            pred_BTJ3 = model(clean_input(observation), clips.valid_BT).float()
            sums_M += _error_sums(pred_BTJ3, observation)
        count, *totals = held_out.total(sums_M).tolist()
        if count == 0:
            raise ValueError(f"{held_out.table.where}: expected 3D motion to score on, found none")
        where = held_out.protocol(clip_frames)
        return tuple(
            Score(
                protocol=Protocol(metric=name, alignment=alignment, scale=scale, **where),
                value=total / count,
                higher_is_better=False,
            )
            for (name, (_, alignment, scale)), total in zip(METRICS.items(), totals, strict=True)
        )


def _error_sums(pred_BTJ3: Tensor, observation: Observation) -> Tensor:
    """Return the number of frames and the sum of each metric; frames without a known root have no error."""
    known_BTJ = (observation.confidence_BTJ > 0) & (observation.confidence_BTJ[..., :1] > 0)
    to_mm_BT11 = (MM_PER_M / observation.scale_BT)[..., None, None]
    pred_mm, target_mm = (
        (points_BTJ3 - points_BTJ3[:, :, :1]) * to_mm_BT11 for points_BTJ3 in (pred_BTJ3, observation.target_BTJ3)
    )
    seen_BT = known_BTJ.any(dim=-1)
    errors = (metric(pred_mm, target_mm, known_BTJ)[seen_BT] for metric, _, _ in METRICS.values())
    return torch.stack([seen_BT.sum().double(), *(error.double().sum() for error in errors)])


class Pretraining(PoseTask[PretrainRecipe]):
    """Learn from every segment, with 3D or without."""

    name = "encoder"

    def choose_clips(self, recipe: PretrainRecipe, table: SegmentTable) -> ClipChoice:
        """Choose all segments; sources without any 3D join at ``detections_from_step``."""
        sources = set(table.source_N.tolist())
        flat = sources - set(table.source_N[table.has_3d_N].tolist())
        if recipe.detections_from_step and flat in (set(), sources):
            raise ValueError(
                f"detections_from_step {recipe.detections_from_step} has no effect: {table.where} has "
                f"{'nothing but 2D-only sources' if flat else 'no 2D-only source'}. Set it to 0."
            )
        return ClipChoice(
            chosen_N=np.ones_like(table.has_3d_N),
            weights=dict(recipe.source_weights),
            first_step=dict.fromkeys(flat, recipe.detections_from_step),
        )


class Pose3d(PoseTask[Pose3dRecipe]):
    """Learn from the segments with 3D."""

    name = "pose3d"

    def choose_clips(self, recipe: Pose3dRecipe, table: SegmentTable) -> ClipChoice:
        """Choose the segments with 3D."""
        if not table.has_3d_N.any():
            raise ValueError(
                f"{table.where}: expected 3D motion to learn from, found none. Extract a source that has 3D motion."
            )
        return ClipChoice(chosen_N=table.has_3d_N)


def motionbert() -> PretrainRecipe:
    """The published recipe: 42.5 M parameters, clips of 243 frames, batch 64, 90 epochs of 1,312 steps. For GPUs.

    2D-only sources join after a third of the epochs. The length of an epoch counts the 3D clips only. A published epoch
    also goes through all 2D clips, in batches of their own (with clips of 30 or 81 frames); here 2D and 3D clips share
    each batch.
    """
    steps = 90 * 1312
    return PretrainRecipe(
        name="motionbert",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=steps, global_batch=64, lr=5e-4, final_lr_ratio=0.99**90, clip_norm=None),
        corruption=WINDOW_NOISE,
        detections_from_step=steps // 3,
    )


def motionbert_lite() -> PretrainRecipe:
    """The published recipe for the smaller encoder of 16.0 M parameters. For GPUs."""
    return replace(motionbert(), name="motionbert_lite", encoder=SIZES["motionbert_lite"])


def laptop() -> PretrainRecipe:
    """A tiny encoder: one to two minutes on two cores. Enough to see that every part works and that the error falls."""
    return PretrainRecipe(
        name="laptop",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=800, global_batch=16, lr=8e-3, final_lr_ratio=0.1, warmup_steps=20),
        corruption=replace(WINDOW_NOISE, keyframes=3),
        losses=_SHORT_RUN,
    )


def pose3d() -> Pose3dRecipe:
    """3D pose as published: 60 epochs of 17,748 clips, batch 32, learning rate 2e-4 for the whole network, no masks.

    The published input is detections, which have errors of their own. Here the input is projected 3D motion, so the
    noise of a detector is added to it.
    """
    return Pose3dRecipe(
        name="pose3d",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=60 * 555, global_batch=32, lr=2e-4, final_lr_ratio=0.99**60, clip_norm=None),
        corruption=replace(WINDOW_NOISE, joint_mask_ratio=0.0, frame_mask_ratio=0.0),
    )


def laptop_pose3d() -> Pose3dRecipe:
    """3D pose with the tiny encoder: about half a minute on one core."""
    return Pose3dRecipe(
        name="laptop_pose3d",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=200, global_batch=16, lr=4e-3, final_lr_ratio=0.1, warmup_steps=20),
        corruption=NO_CORRUPTION,
        losses=_SHORT_RUN,
    )


# With the published weight of 20, a short run learns to predict no motion before it learns the limbs' directions.
_SHORT_RUN = LossWeights(velocity=4.0)

TASKS = (Pretraining(), Pose3d())
RECIPES = (motionbert, motionbert_lite, laptop, pose3d, laptop_pose3d)
