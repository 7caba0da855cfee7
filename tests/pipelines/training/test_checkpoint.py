"""A run taken up from a checkpoint goes on bit by bit as if it had never stopped, at every step, for every task."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from datasets.loading.cache import Cache
from motion_encoder import ModelCard, PartialFinetuning
from motion_encoder.tasks.action import ActionRecipe
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import find_task
from pipelines.training.checkpoint import load_state, save_state
from pipelines.training.clips import TrainingClips, segment_table, training_clips
from pipelines.training.prepare import prepare
from pipelines.training.train_step import make_optimizer, train_step
from pipelines.training.worker import Worker
from tests.pipelines.conftest import small_recipe
from tests.restore import assert_restores_at_every_step, same

STEPS = 6


class Run:
    """One worker's training, step by step; its states are folders."""

    def __init__(self, recipe: Recipe, cache: Cache, folders: Path) -> None:
        self._trained = prepare(recipe, segment_table(cache))
        self._clips = clips_of(recipe, cache)
        self._folders = (folders / str(number) for number in count())
        self._done = 0

    def step(self) -> dict[str, torch.Tensor]:
        position_B, clips = self._clips.at(self._done, Worker())
        result = train_step(self._trained, clips, torch.from_numpy(position_B), self._done)
        self._done += 1
        weights = {name: tensor.clone() for name, tensor in self._trained.model.state_dict().items()}
        return dict(result.values) | weights

    def state(self) -> Path:
        folder = next(self._folders)
        folder.mkdir(parents=True)
        trained = self._trained
        save_state(folder, trained.model, trained.optimizer, task=trained.task.name, card=ModelCard(), step=self._done)
        return folder

    def restore(self, state: Path) -> None:
        self._done = load_state(state, self._trained.model, self._trained.optimizer)


def clips_of(recipe: Recipe, cache: Cache) -> TrainingClips:
    return training_clips(cache, find_task(recipe.task).choose_clips(recipe, segment_table(cache)), recipe)


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
        finetuning=PartialFinetuning(lr_scale=0.1),
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
    trained = prepare(recipe, segment_table(training))
    for group in trained.optimizer.param_groups:
        group["scale"] = 0.0  # the weights stay: only the draws differ
        group["weight_decay"] = 0.0
    position_B, clips = clips_of(recipe, training).at(0, Worker())
    first_B = torch.zeros(len(position_B), dtype=torch.int64)
    losses = [train_step(trained, clips, first_B, step).values["loss"].item() for step in (0, 1, 0)]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]


def test_a_checkpoint_is_safetensors_and_json(training: Cache, tmp_path: Path):
    run = Run(pretraining(), training, tmp_path)
    run.step()
    folder = run.state()
    assert sorted(path.name for path in folder.iterdir()) == ["model", "optimizer.safetensors", "progress.json"]
    assert {path.suffix for path in (folder / "model").iterdir()} == {".json", ".safetensors"}
    assert json.loads((folder / "progress.json").read_text()) == {"step": 1}
    optimizer = load_file(folder / "optimizer.safetensors")
    assert {name.partition(".")[2] for name in optimizer} == {"step", "exp_avg", "exp_avg_sq"}


def test_a_pretrained_encoder_moves_more_slowly_than_the_new_head(training: Cache):
    recipe = action()
    trained = prepare(recipe, segment_table(training))
    for pretrained, scale in ((True, 0.1), (False, 1.0)):
        optimizer = make_optimizer(trained.task, recipe, trained.model, pretrained=pretrained)
        position_B, clips = clips_of(recipe, training).at(0, Worker())
        train_step(replace(trained, optimizer=optimizer), clips, torch.from_numpy(position_B), 3)
        lr = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        encoder = set(trained.model.encoder.parameters())
        highest = recipe.optimisation.lr_at(3)
        assert {lr[weight] for weight in lr if weight not in encoder} == {highest}
        assert [*{lr[weight] for weight in lr if weight in encoder}] == pytest.approx([scale * highest])


def test_weights_are_stored_once(training: Cache, tmp_path: Path):
    """Beside them AdamW keeps two numbers for each weight, and a step of 4 bytes for each tensor."""
    run = Run(pretraining(), training, tmp_path)
    run.step()
    sizes = {path.name: path.stat().st_size for path in run.state().rglob("*.safetensors")}
    weights = sum(size for name, size in sizes.items() if name.startswith("model-"))
    assert len(sizes) == 2
    assert sizes["optimizer.safetensors"] == pytest.approx(2 * weights, rel=0.35)


def test_damaged_weights_are_not_resumed_from(training: Cache, tmp_path: Path):
    run = Run(pretraining(), training, tmp_path)
    run.step()
    folder = run.state()
    [weights] = (folder / "model").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: expected SHA-256"):
        run.restore(folder)
