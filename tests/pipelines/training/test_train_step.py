"""One step: no weight moves by a gradient that is not finite, and no worker's draws depend on their number."""

from dataclasses import replace

import pytest
import torch

from datasets.loading.cache import Cache
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.model.heads import ActionModel
from motion_encoder.tasks.action import ActionRecipe
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import find_task
from pipelines.training.clips import segment_table, training_clips
from pipelines.training.finite_check import FiniteCheck
from pipelines.training.prepare import prepare
from pipelines.training.train_step import Trained, train_step
from pipelines.training.worker import Worker
from tests.pipelines.conftest import BATCH, small_recipe


def action_recipe() -> ActionRecipe:
    recipe = small_recipe()
    common = {name: getattr(recipe, name) for name in ("encoder", "clip_frames", "optimisation")}
    return ActionRecipe(name="action", hidden=8, dropout=0.5, **common)


def step(trained: Trained, cache: Cache, number: int, *, spoil: bool = False):
    recipe = trained.recipe
    choice = find_task(recipe.task).choose_clips(recipe, segment_table(cache))
    position_B, clips = training_clips(cache, choice, recipe).at(number, Worker())
    if spoil:
        clips = replace(clips, points_BTJ3=torch.full_like(clips.points_BTJ3, torch.nan))
    return train_step(trained, clips, torch.from_numpy(position_B), number)


@pytest.mark.parametrize("recipe", [small_recipe(), action_recipe()], ids=["pretraining", "action"])
def test_a_gradient_that_is_not_finite_moves_nothing(recipe: Recipe, training: Cache):
    """Neither weights nor the optimizer's moments: the next step is as if the bad one had not been."""
    undisturbed, disturbed = (prepare(recipe, segment_table(training)) for _ in range(2))
    assert step(undisturbed, training, 0).is_finite
    assert step(disturbed, training, 0).is_finite
    before = {name: weight.clone() for name, weight in disturbed.model.named_parameters()}
    assert not step(disturbed, training, 1, spoil=True).is_finite
    assert all(torch.equal(weight, before[name]) for name, weight in disturbed.model.named_parameters())
    if recipe.task == "action":
        return  # its batch norm has seen the bad batch, and a run ends there
    for trained in (undisturbed, disturbed):
        assert step(trained, training, 2).is_finite
    expected = undisturbed.model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in disturbed.model.state_dict().items())


def test_a_good_step_moves_every_weight(training: Cache):
    """Without it, the test above could not fail."""
    trained = prepare(small_recipe(), segment_table(training))
    before = {name: weight.clone() for name, weight in trained.model.named_parameters()}
    step(trained, training, 0)
    step(trained, training, 1)  # the fusion weights begin at 0 and let no gradient through to some at first
    still = [name for name, weight in trained.model.named_parameters() if torch.equal(weight, before[name])]
    assert still == []


def test_dropout_of_a_clip_does_not_depend_on_who_has_it(training: Cache):
    """Keyed by place in the global batch: parts of the batch draw what the whole does."""
    recipe = action_recipe()
    trained = prepare(recipe, segment_table(training))
    choice = trained.task.choose_clips(recipe, segment_table(training))
    clips_of = training_clips(training, choice, recipe)

    def kept(worker: Worker) -> torch.Tensor:
        position_B, clips = clips_of.at(3, worker)
        random = KeyedRandom.at(recipe.seed, 3, torch.from_numpy(position_B))
        assert isinstance(trained.model, ActionModel)
        drawn = trained.model.draw_dropout(random, 1, clips.points_BTJ3.shape[1])
        assert drawn is not None
        return drawn

    whole = kept(Worker())
    parts = torch.cat([kept(Worker(rank=rank, world_size=2)) for rank in (0, 1)])
    assert torch.equal(whole, parts)
    assert len(whole) == BATCH
    assert whole.float().mean().item() == pytest.approx(0.5, abs=0.02)


META = torch.device("meta")


@pytest.mark.parametrize("recipe", [small_recipe(), action_recipe()], ids=["pretraining", "action"])
def test_a_step_never_waits_for_the_device(recipe: Recipe, training: Cache, monkeypatch: pytest.MonkeyPatch):
    """Tensors on the device "meta" have no values: whatever asks for one raises."""
    trained = prepare(recipe, segment_table(training), worker=Worker(device=META))
    monkeypatch.setattr(trained.optimizer, "step", lambda: None)  # "meta" has no fused AdamW
    choice = trained.task.choose_clips(recipe, segment_table(training))
    position_B, clips = training_clips(training, choice, recipe).at(0, Worker())
    result = train_step(trained, clips.to(META), torch.from_numpy(position_B).to(META), 0)
    FiniteCheck(META).note(1, result)
    with pytest.raises(RuntimeError, match="meta tensors"):
        result.values["loss"].item()  # as it would have inside
