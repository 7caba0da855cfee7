"""What is learnt: pose (pretraining and 3D pose finetuning share it) and action.

A task knows its network, how a batch becomes losses, which clips it trains on, and how it is scored on held-out
people. The training loop knows nothing else of it.

Shapes: B clips, P people, T frames, J = 17 joints, N sequences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from datasets.loading.cache import Cache
from datasets.loading.gather import Clips
from motion_encoder import DSTformer, load
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import Sum, pose_losses
from motion_encoder.metrics import Score
from motion_encoder.model.heads import ActionModel
from motion_encoder.observation import Observation, ViewOptions, corrupted_input, observe
from pipelines.training.clips import TrainingClips, training_clips
from pipelines.training.evaluation import action_scores, labelled, padding, pose_scores
from pipelines.training.recipes import ActionRecipe, Pose3dRecipe, PretrainRecipe, Recipe
from pipelines.training.worker import Worker


def make_task(recipe: Recipe, cache: Cache, init: str | None) -> "Task":
    """Build the task of a recipe, its encoder pulled from ``init`` or drawn from the recipe's seed.

    Raises:
        ValueError: ``init`` is not a model, or the store has nothing that the task can learn from.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    if isinstance(recipe, PretrainRecipe):
        return PoseTask(recipe=recipe, network=DSTformer(recipe.encoder, generator))
    encoder = _encoder(init, recipe, generator)
    if isinstance(recipe, Pose3dRecipe):
        return PoseTask(recipe=recipe, network=encoder)
    assert isinstance(recipe, ActionRecipe), f"no task for {type(recipe).__name__}"
    source = _labelled_source(cache, recipe.label_source)
    labels = cache.store.manifest.sources[source].labels
    return ActionTask(recipe=recipe, network=ActionModel(encoder, labels, recipe.head, generator), source=source)


def _encoder(init: str | None, recipe: Recipe, generator: torch.Generator) -> DSTformer:
    if init is None:
        return DSTformer(recipe.encoder, generator)
    model = load(init)
    encoder = model.encoder if isinstance(model, ActionModel) else model
    encoder.requires_grad_(True)  # an action model has frozen the pose head
    if encoder.config != recipe.encoder:
        raise ValueError(f"{init}: expected an encoder of the recipe's size {recipe.encoder}, found {encoder.config}")
    return encoder


def _labelled_source(cache: Cache, wanted: str | None) -> str:
    labelled = sorted(set(cache.segments.source[cache.segments.label >= 0].tolist()))
    chosen = labelled if wanted is None else [name for name in labelled if name == wanted]
    if len(chosen) == 1:
        return chosen[0]
    raise ValueError(f"label_source: expected one of the sources with labels, {labelled}, found {wanted}. Name one.")


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseTask:
    """Recover the 3D motion, or the clean 2D where there is no 3D, from a spoilt 2D view."""

    recipe: PretrainRecipe | Pose3dRecipe
    network: DSTformer

    @property
    def encoder(self) -> DSTformer:
        """The network is the encoder, its pose head included."""
        return self.network

    def parameter_groups(self, *, pretrained: bool) -> list[dict[str, Any]]:
        """Every weight alike, as published."""
        return [{"params": list(self.network.parameters()), "scale": 1.0}]

    @property
    def weights(self) -> Mapping[str, float]:
        """As the recipe says."""
        return self.recipe.losses.active

    def training_clips(self, cache: Cache) -> TrainingClips:
        """Pretraining takes every segment, finetuning those with 3D."""
        recipe, has_depth_N = self.recipe, cache.segments.first_3d >= 0
        pretraining = isinstance(recipe, PretrainRecipe)
        wild = set(cache.sources) - set(cache.segments.source[has_depth_N].tolist())
        if pretraining and recipe.wild_from_step and wild in (set(), set(cache.sources)):
            raise ValueError(
                f"wild_from_step {recipe.wild_from_step} has no effect: {cache.store.url} has "
                f"{'nothing but 2D-only sources' if wild else 'no 2D-only source'}. Set it to 0."
            )
        return training_clips(
            cache,
            np.ones_like(has_depth_N) if pretraining else has_depth_N,
            recipe,
            weights=dict(recipe.source_weights) if pretraining else {},
            joins_at=dict.fromkeys(wild, recipe.wild_from_step) if pretraining else {},
        )

    def losses(self, network: nn.Module, clips: Clips, random: KeyedRandom) -> dict[str, Sum]:
        """Look, spoil, recover, compare with what is known."""
        observation = _observe(clips, random, self.recipe.views)
        pred_BTJ3 = network(corrupted_input(observation, random, self.recipe.corruption), padding(clips))
        return pose_losses(
            pred_BTJ3, observation.target_BTJ3, observation.confidence_BTJ, clips.has_depth_B, self.recipe.losses
        )

    def can_score(self, cache: Cache) -> bool:
        """Whether somebody there has 3D motion."""
        return bool((cache.segments.first_3d >= 0).any())

    def evaluate(self, cache: Cache, worker: Worker) -> tuple[Score, ...]:
        """Position errors; see ``evaluation.pose_scores``."""
        return pose_scores(self.network, cache, self.recipe.clip_frames, worker)


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionTask:
    """Name the action of a 2D view of one person."""

    recipe: ActionRecipe
    network: ActionModel
    source: str
    """Whose labels these are: labels of unlike sources are not one set."""

    @property
    def encoder(self) -> DSTformer:
        """The encoder below the head."""
        return self.network.encoder

    def parameter_groups(self, *, pretrained: bool) -> list[dict[str, Any]]:
        """A pretrained encoder moves more slowly than the new head."""
        encoder = [weight for weight in self.network.encoder.parameters() if weight.requires_grad]
        return [
            {"params": encoder, "scale": self.recipe.encoder_lr_scale if pretrained else 1.0},
            {"params": list(self.network.head.parameters()), "scale": 1.0},
        ]

    @property
    def weights(self) -> Mapping[str, float]:
        """Cross entropy alone."""
        return {"cross_entropy": 1.0}

    def training_clips(self, cache: Cache) -> TrainingClips:
        """The labelled segments of the source."""
        return training_clips(cache, labelled(cache, self.source), self.recipe, weights={}, joins_at={})

    def losses(self, network: nn.Module, clips: Clips, random: KeyedRandom) -> dict[str, Sum]:
        """Look, spoil, classify."""
        observation = _observe(clips, random, self.recipe.views)
        x_BPTJC = corrupted_input(observation, random, self.recipe.corruption)[:, None]
        loss = functional.cross_entropy(network(x_BPTJC, padding(clips)).float(), clips.label_B, reduction="sum")
        return {"cross_entropy": Sum(loss, torch.tensor(len(clips.label_B), device=loss.device))}

    def can_score(self, cache: Cache) -> bool:
        """Whether somebody there has a label."""
        return bool(labelled(cache, self.source).any())

    def evaluate(self, cache: Cache, worker: Worker) -> tuple[Score, ...]:
        """Top-1 accuracy; see ``evaluation.action_scores``."""
        return action_scores(self.network, cache, self.source, self.recipe.clip_frames, worker)


Task = PoseTask | ActionTask
"""What the training loop knows: the network and its parameter groups, training clips, loss terms, held-out scores."""


def _observe(clips: Clips, random: KeyedRandom, options: ViewOptions) -> Observation:
    return observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, options)
