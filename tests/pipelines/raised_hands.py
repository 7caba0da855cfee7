"""A task of another package, complete in one module: is a hand above the head, frame by frame?

Shapes: B clips, T frames, J joints, C channels, R channels of the representation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from motion_encoder import DSTformer, EncoderSize, MotionModel
from motion_encoder.clips import Clips
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import Sum
from motion_encoder.metrics import Protocol, Score
from motion_encoder.observation import TEST_VIEWS, clean_input, corrupted_input, observe
from motion_encoder.skeletons import H36M17
from motion_encoder.tasks.recipe import NO_CORRUPTION, Optimisation, Recipe
from motion_encoder.tasks.registry import register_task
from motion_encoder.tasks.task import ClipChoice, HeldOut, Network, SegmentTable, Task

HANDS, HEAD = [H36M17.index("lwrist"), H36M17.index("rwrist")], H36M17.index("head")


@dataclass(frozen=True, kw_only=True)
class RaisedHandsRecipe(Recipe):
    """Tell in which frames a hand is above the head."""

    task: ClassVar[str] = "raised-hands"
    bias: bool = True
    """Give the head a bias."""


class RaisedHands(MotionModel):
    """One linear layer on the representation of a frame."""

    output_names = ("raised",)
    prediction_shape = (-1, -1)

    def __init__(self, encoder: DSTformer, *, bias: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder.head.requires_grad_(False)
        self.head = nn.Linear(encoder.config.num_joints * encoder.config.dim_rep, 1, bias=bias)

    def forward(self, x_BTJC: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        return self.head(self.encoder.encode(x_BTJC, valid_BT).flatten(2))[..., 0]

    def head_settings(self) -> dict[str, Any]:
        return {"bias": self.head.bias is not None}

    @classmethod
    def from_settings(cls, encoder: DSTformer, settings: Mapping[str, Any]) -> "RaisedHands":
        return cls(encoder, bias=settings["bias"])

    def outputs(self, keypoints: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        return {"raised": self(keypoints, valid)}

    def predict(self, x_BTJC: Tensor) -> Tensor:
        return self(x_BTJC)


class RaisedHandsTask(Task[RaisedHandsRecipe, RaisedHands]):
    """Learn from the frames with 3D, which say where hands and head are."""

    name = "raised-hands"
    network = RaisedHands

    def choose_clips(self, recipe: RaisedHandsRecipe, table: SegmentTable) -> ClipChoice:
        return ClipChoice(chosen_N=table.has_3d_N)

    def make_model(
        self, recipe: RaisedHandsRecipe, encoder: DSTformer, table: SegmentTable, generator: torch.Generator
    ) -> RaisedHands:
        model = RaisedHands(encoder, bias=recipe.bias)
        nn.init.normal_(model.head.weight, std=0.01, generator=generator)
        return model

    def loss_weights(self, recipe: RaisedHandsRecipe) -> Mapping[str, float]:
        return {"bce": 1.0}

    def losses(
        self, recipe: RaisedHandsRecipe, model: RaisedHands, network: Network, clips: Clips, random: KeyedRandom
    ) -> dict[str, Sum]:
        observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, recipe.cameras)
        logits_BT = network(corrupted_input(observation, random, recipe.corruption), clips.valid_BT)
        counted_BT = (clips.confidence_BTJ > 0).all(dim=-1)
        loss_BT = functional.binary_cross_entropy_with_logits(logits_BT, raised(clips).float(), reduction="none")
        return {"bce": Sum((loss_BT * counted_BT).sum(), counted_BT.sum())}

    def can_score(self, model: RaisedHands, table: SegmentTable) -> bool:
        return bool(table.has_3d_N.any())

    @torch.inference_mode()
    def score(self, model: RaisedHands, held_out: HeldOut, clip_frames: int) -> tuple[Score, ...]:
        right_and_all = torch.zeros(2, device=held_out.device)
        for _, clips, random in held_out.windows(held_out.table.has_3d_N, clip_frames):
            observation = observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, TEST_VIEWS)
            is_right_BT = (model(clean_input(observation), clips.valid_BT) > 0) == raised(clips)
            counted_BT = (clips.confidence_BTJ > 0).all(dim=-1)
            right_and_all += torch.stack([(is_right_BT & counted_BT).sum(), counted_BT.sum()])
        right, total = held_out.total(right_and_all).tolist()
        protocol = Protocol(metric="raised_accuracy", **held_out.protocol(clip_frames))
        return (Score(protocol=protocol, value=right / total, higher_is_better=True),)


def raised(clips: Clips) -> Tensor:
    """Whether the higher hand is above the head, bool [B, T]."""
    height_BTJ = clips.points_BTJ3[..., 1]
    return height_BTJ[..., HANDS].amax(dim=-1) > height_BTJ[..., HEAD]


def raised_hands() -> RaisedHandsRecipe:
    """Seconds on one core."""
    return RaisedHandsRecipe(
        name="raised_hands",
        encoder=EncoderSize(dim_feat=16, depth=1, num_heads=2, dim_rep=16, max_frames=27, init_std=0.2),
        clip_frames=9,
        optimisation=Optimisation(steps=60, global_batch=9, lr=1e-2, warmup_steps=2),
        corruption=NO_CORRUPTION,
    )


TASKS = (RaisedHandsTask(),)
RECIPES = (raised_hands,)
register_task(TASKS[0])
