"""One optimizer step. It gives the same result on any number of workers, and is skipped if the gradient is not finite.

Losses are divided by counts over all workers. Nothing here waits for the device.
"""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from motion_encoder import MotionModel
from motion_encoder.clips import Clips
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Int
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import AnyTask
from pipelines.training.worker import Worker


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What a worker trains: the model of a task, its optimizer, and the recipe."""

    task: AnyTask
    recipe: Recipe
    model: MotionModel
    network: nn.Module
    """The model as training calls it: wrapped for data-parallel training if there are several workers."""
    optimizer: torch.optim.Optimizer
    worker: Worker


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of a step over all workers, as tensors on the device."""

    values: Mapping[str, Tensor]
    """Loss, loss terms and gradient norm by name."""
    is_finite: Tensor
    """Whether loss and gradient were finite; if not, the weights were not changed."""


def make_optimizer(task: AnyTask, recipe: Recipe, model: MotionModel, *, pretrained: bool) -> torch.optim.Optimizer:
    """Return AdamW; its learning rates are set before every step, with the ``scale`` of each group."""
    groups = task.parameter_groups(recipe, model, pretrained=pretrained)
    optimisation = recipe.optimisation
    return torch.optim.AdamW(groups, lr=optimisation.lr, weight_decay=optimisation.weight_decay, fused=True)


def train_step(trained: Trained, clips: Clips, position_B: Int[Tensor, "B"], step: int) -> StepResult:
    """Do one step on this worker's clips, which have the positions ``position_B`` in the global batch."""
    recipe, worker, optimizer = trained.recipe, trained.worker, trained.optimizer
    for group in optimizer.param_groups:
        group["lr"] = recipe.optimisation.lr_at(step) * group["scale"]
    trained.network.train()
    torch.manual_seed(_seed_of(recipe.seed, step, worker.rank))  # for layers that draw from torch's own generator
    random = KeyedRandom.at(recipe.seed, step, position_B)
    with torch.autocast(worker.device.type, torch.bfloat16) if recipe.precision == "bfloat16" else nullcontext():
        sums = trained.task.losses(recipe, trained.model, trained.network, clips, random)
    weights = trained.task.loss_weights(recipe)
    local = torch.stack([torch.stack([each.total.detach().float(), each.count.float()]) for each in sums.values()])
    total_K, count_K = worker.total(local).unbind(dim=1)
    # DDP averages gradients over workers. Totals are divided by the global count, so gradients have to be summed.
    share_K = worker.world_size / count_K.clamp_min(1)
    loss = torch.stack([weights[name] * each.total for name, each in sums.items()]) @ share_K
    loss.backward()
    norm = nn.utils.clip_grad_norm_(trained.network.parameters(), recipe.optimisation.clip_norm or math.inf)

    mean_K = total_K / count_K.clamp_min(1)
    terms = {f"loss/{name}": mean_K[index] for index, name in enumerate(sums)}
    whole = torch.stack([weights[name] * terms[f"loss/{name}"] for name in sums]).sum()
    is_finite = torch.isfinite(norm) & torch.isfinite(whole)
    _step_if(optimizer, is_finite)
    return StepResult(values={"loss": whole, "grad_norm": norm, **terms}, is_finite=is_finite)


def _seed_of(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _step_if(optimizer: torch.optim.Optimizer, condition: Tensor) -> None:
    """Step if the condition holds, without reading it: fused optimizers accept the flag of a gradient scaler."""
    optimizer.found_inf = (~condition).float().reshape(())  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    optimizer.zero_grad()
