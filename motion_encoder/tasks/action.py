"""Action recognition: classify a 2D sequence of one person with a head on the representation.

Shapes: B clips, T frames, J = 17 joints, P people, N segments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from motion_encoder import metrics
from motion_encoder.clips import Clips
from motion_encoder.finetuning import PartialFinetuning
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import Sum
from motion_encoder.metrics import Protocol, Score
from motion_encoder.model.dstformer import SIZES, DSTformer
from motion_encoder.model.heads import ActionHeadConfig, ActionModel
from motion_encoder.observation import TEST_VIEWS, clean_input, corrupted_input, observe
from motion_encoder.shapes import Bool
from motion_encoder.tasks.recipe import NO_CORRUPTION, FinetuneRecipe, Optimisation
from motion_encoder.tasks.task import ClipChoice, HeldOut, Network, SegmentTable, Task


@dataclass(frozen=True, kw_only=True)
class ActionRecipe(FinetuneRecipe):
    """Action recognition: classify a 2D sequence with a new head on the representation."""

    task: ClassVar[str] = "action"
    hidden: int = 2048
    """Number of channels of the head's hidden layer."""
    dropout: float = 0.5
    """Dropout rate of the representation in training."""
    label_source: str | None = None
    """Name of the source whose labels to learn. Needed only if several sources of the store have labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.head  # checks its sizes

    @property
    def head(self) -> ActionHeadConfig:
        """Return the size of the head."""
        return ActionHeadConfig(hidden=self.hidden, dropout=self.dropout)


class Action(Task[ActionRecipe, ActionModel]):
    """Classify the action of a 2D view of one person."""

    name = "action"
    network = ActionModel

    def choose_clips(self, recipe: ActionRecipe, table: SegmentTable) -> ClipChoice:
        """Choose the labelled segments of one source."""
        return ClipChoice(chosen_N=_labelled(table, _labelled_source(recipe, table)))

    def make_model(
        self, recipe: ActionRecipe, encoder: DSTformer, table: SegmentTable, generator: torch.Generator
    ) -> ActionModel:
        """Put a new head for the source's labels on the encoder."""
        source = _labelled_source(recipe, table)
        return ActionModel(encoder, table.labels[source], recipe.head, generator, label_source=source)

    def loss_weights(self, recipe: ActionRecipe) -> Mapping[str, float]:
        """Return the weight of the only term, cross entropy."""
        return {"cross_entropy": 1.0}

    def losses(
        self, recipe: ActionRecipe, model: ActionModel, network: Network, clips: Clips, random: KeyedRandom
    ) -> dict[str, Sum]:
        """Project and corrupt the clips, and classify them."""
        observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, recipe.cameras)
        x_BPTJC = corrupted_input(observation, random, recipe.corruption)[:, None]
        keep_BPTJR = model.draw_dropout(random, *x_BPTJC.shape[1:3])
        logits = network(x_BPTJC, clips.valid_BT, keep_BPTJR).float()
        loss = functional.cross_entropy(logits, clips.label_B, reduction="sum")
        return {"cross_entropy": Sum(loss, torch.full_like(clips.label_B[0], len(clips.label_B)))}

    def can_score(self, model: ActionModel, table: SegmentTable) -> bool:
        """Return whether the split has sequences with the model's labels."""
        return bool(_labelled(table, _source_of(model, table)).any())

    @torch.inference_mode()
    def score(self, model: ActionModel, held_out: HeldOut, clip_frames: int) -> tuple[Score, ...]:
        """Return top-1 accuracy over sequences; the logits of a sequence's windows are added up."""
        table = held_out.table
        source = _source_of(model, table)
        chosen_N = _labelled(table, source)
        if not chosen_N.any():
            raise ValueError(f"{table.where}: expected sequences with the labels {model.labels}, found none")
        sequences, sequence_N = np.unique(table.sequence_N, return_inverse=True)
        label = np.full(len(sequences), -1)
        label[sequence_N[chosen_N]] = table.label_N[chosen_N]
        logits = torch.zeros(len(sequences), len(model.labels), device=held_out.device)
        for segment_B, clips, random in held_out.windows(chosen_N, clip_frames):
            observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, TEST_VIEWS)
            window_logits = model(clean_input(observation)[:, None], clips.valid_BT).float()
            logits.index_add_(0, torch.from_numpy(sequence_N[segment_B]).to(held_out.device), window_logits)
        predicted = held_out.total(logits).argmax(dim=1).cpu()
        scored = torch.from_numpy(label >= 0)
        accuracy = metrics.accuracy(predicted[scored], torch.from_numpy(label)[scored])
        protocol = Protocol(metric="top1", **held_out.protocol(clip_frames, source))
        return (Score(protocol=protocol, value=accuracy, higher_is_better=True),)


def _labelled_source(recipe: ActionRecipe, table: SegmentTable) -> str:
    names = sorted(set(table.source_N[table.label_N >= 0].tolist()))
    chosen = [name for name in names if recipe.label_source in (None, name)]
    if len(chosen) == 1:
        return chosen[0]
    raise ValueError(
        f"label_source: expected one of the sources with labels in {table.where}, {names}, "
        f"found {recipe.label_source}. Name one."
    )


def _source_of(model: ActionModel, table: SegmentTable) -> str | None:
    """Return the source whose labels the model learned; if the model does not state it, the first with equal labels."""
    same = sorted(name for name, labels in table.labels.items() if labels == model.labels)
    return model.label_source if model.label_source in same else next(iter(same), None)


def _labelled(table: SegmentTable, source: str | None) -> Bool[np.ndarray, "N"]:
    """Return which segments have a label of the source; each source has a set of labels of its own."""
    return (table.label_N >= 0) & (table.source_N == (source or ""))


def action() -> ActionRecipe:
    """Action recognition with the published schedule and head: 300 epochs of NTU-60, batch 32, learning rate 1e-3.

    The learning rate of a pretrained encoder is a tenth of that. The input is our own: one person in a window of 1 to
    1.25 times their size, with 3D motion seen by a random camera. The published input is both people as detected, in a
    window of 1 to 3 times their size, and rotated, scaled and moved at random. (``motion_encoder.action_input`` makes
    that input, but without these random changes.)
    """
    return ActionRecipe(
        name="action",
        encoder=SIZES["motionbert"],
        clip_frames=243,
        optimisation=Optimisation(steps=300 * 1250, global_batch=32, lr=1e-3, final_lr_ratio=0.99**300, clip_norm=None),
        corruption=NO_CORRUPTION,
        finetuning=PartialFinetuning(lr_scale=0.1),
    )


def laptop_action() -> ActionRecipe:
    """Action recognition with the tiny encoder: about half a minute on one core."""
    return ActionRecipe(
        name="laptop_action",
        encoder=SIZES["tiny"],
        clip_frames=27,
        optimisation=Optimisation(steps=200, global_batch=16, lr=2e-3, final_lr_ratio=0.1, warmup_steps=10),
        corruption=NO_CORRUPTION,
        hidden=256,
        dropout=0.1,
        finetuning=PartialFinetuning(lr_scale=0.3),
    )


TASKS = (Action(),)
RECIPES = (action, laptop_action)
