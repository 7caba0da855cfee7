"""A run taken up from a checkpoint goes on bit by bit as if it had never stopped, at every step, for every task."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datasets.loading.cache import Cache
from pipelines.training.checkpoint import load_state, save_state
from pipelines.training.loop import make_optimizer, move_weights
from pipelines.training.recipes import ActionRecipe, Recipe
from pipelines.training.tasks import make_task
from pipelines.training.worker import Worker
from tests.pipelines.conftest import small_recipe
from tests.restore import assert_restores_at_every_step, same

STEPS = 6


class Run:
    """One worker's training, step by step; its states are folders."""

    def __init__(self, recipe: Recipe, cache: Cache, folders: Path) -> None:
        self._task = make_task(recipe, cache, None)
        self._clips = self._task.training_clips(cache)
        self._optimizer = make_optimizer(self._task, pretrained=False)
        self._folders = (folders / str(number) for number in count())
        self._done = 0

    def step(self) -> dict[str, torch.Tensor]:
        position_B, clips = self._clips.at(self._done, Worker())
        network = self._task.network
        values = move_weights(network, self._task, self._optimizer, clips, position_B, self._done, Worker())
        self._done += 1
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        return {name: torch.as_tensor(value) for name, value in values.items()} | weights

    def state(self) -> Path:
        folder = next(self._folders)
        folder.mkdir(parents=True)
        save_state(folder, self._task.network, self._optimizer, step=self._done)
        return folder

    def restore(self, state: Path) -> None:
        self._done = load_state(state, self._task.network, self._optimizer)


def pretraining() -> Recipe:
    return small_recipe(steps=STEPS)


def action() -> Recipe:
    """With dropout and batch norm: randomness and state that poses do not have."""
    recipe = small_recipe(steps=STEPS)
    return ActionRecipe(
        name="action",
        encoder=recipe.encoder,
        clip_frames=recipe.clip_frames,
        optimisation=recipe.optimisation,
        hidden=8,
        dropout=0.5,
    )


@pytest.mark.parametrize("recipe", [pretraining(), action()], ids=["pretraining", "action"])
def test_restores_at_every_step(recipe: Recipe, training: Cache, tmp_path: Path):
    makers = count()
    assert_restores_at_every_step(lambda: Run(recipe, training, tmp_path / str(next(makers))), STEPS)


@pytest.mark.parametrize("recipe", [pretraining(), action()], ids=["pretraining", "action"])
def test_every_step_moves_the_weights_and_the_seed_decides_how(recipe: Recipe, training: Cache, tmp_path: Path):
    """Without it, the test above could not fail."""
    run = Run(recipe, training, tmp_path)
    first, second = run.step(), run.step()
    assert not same(first, second)
    torch.manual_seed(99)  # nobody else's draws matter
    assert same(Run(recipe, training, tmp_path).step(), first)


def test_dropout_draws_anew_at_every_step(training: Cache):
    recipe = action()
    task = make_task(recipe, training, None)
    optimizer = make_optimizer(task, pretrained=False)
    for group in optimizer.param_groups:
        group["scale"] = 0.0  # the weights stay: only the draws differ
        group["weight_decay"] = 0.0
    position_B, clips = task.training_clips(training).at(0, Worker())
    losses = [
        move_weights(task.network, task, optimizer, clips, np.zeros_like(position_B), step, Worker())["loss"].item()
        for step in (0, 1, 0)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]


def test_a_checkpoint_is_safetensors_and_json(training: Cache, tmp_path: Path):
    run = Run(pretraining(), training, tmp_path)
    run.step()
    folder = run.state()
    assert sorted(path.name for path in folder.iterdir()) == [
        "network.safetensors",
        "optimizer.safetensors",
        "progress.json",
    ]
    assert json.loads((folder / "progress.json").read_text()) == {"step": 1}
    optimizer = load_file(folder / "optimizer.safetensors")
    assert {name.partition(".")[2] for name in optimizer} == {"step", "exp_avg", "exp_avg_sq"}


def test_a_pretrained_encoder_moves_more_slowly_than_the_new_head(training: Cache):
    recipe = action()
    task = make_task(recipe, training, None)
    assert isinstance(recipe, ActionRecipe)
    for pretrained, scale in ((True, 0.1), (False, 1.0)):
        optimizer = make_optimizer(task, pretrained=pretrained)
        position_B, clips = task.training_clips(training).at(0, Worker())
        move_weights(task.network, task, optimizer, clips, position_B, 3, Worker())
        encoder, head = (group["lr"] for group in optimizer.param_groups)
        assert head == recipe.optimisation.lr_at(3)
        assert encoder == pytest.approx(scale * head)
