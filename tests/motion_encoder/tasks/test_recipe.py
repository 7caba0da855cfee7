"""Recipes hold the published numbers, the learning rate follows its definition, and a bad option is an error."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_encoder import PartialFinetuning
from motion_encoder.tasks.action import ActionRecipe
from motion_encoder.tasks.pose import motionbert, motionbert_lite
from motion_encoder.tasks.recipe import FinetuneRecipe, Optimisation
from motion_encoder.tasks.registry import find_recipe, recipes
from tests.pipelines.conftest import small_recipe


def test_pretraining_is_as_published():
    recipe = motionbert()
    assert recipe.clip_frames == 243
    assert (recipe.optimisation.lr, recipe.optimisation.global_batch) == (5e-4, 64)
    assert recipe.optimisation.weight_decay == 0.01
    assert (recipe.corruption.joint_mask_ratio, recipe.corruption.frame_mask_ratio) == (0.05, 0.1)
    assert recipe.losses.active == {"mpjpe": 1.0, "n_mpjpe": 0.5, "velocity": 20.0, "xy_2d": 1.0}
    assert (recipe.encoder.dim_feat, recipe.encoder.depth, recipe.encoder.num_heads) == (512, 5, 8)
    assert recipe.cameras.flip_ratio == 0.5


def test_the_lite_encoder_differs_in_size_alone():
    full, lite = motionbert(), motionbert_lite()
    assert (lite.encoder.dim_feat, lite.encoder.mlp_ratio) == (256, 4.0)
    assert replace(lite, name=full.name, encoder=full.encoder) == full


def test_the_published_decay_is_one_percent_an_epoch():
    optimisation = motionbert().optimisation
    steps_per_epoch = optimisation.steps / 90
    after_an_epoch = optimisation.lr_at(round(steps_per_epoch)) / optimisation.lr_at(0)
    assert after_an_epoch == pytest.approx(0.99, abs=2e-4)


def test_detections_join_after_a_third():
    recipe = motionbert()
    assert recipe.detections_from_step == recipe.optimisation.steps // 3


def test_finetuning_is_as_published():
    pose, action = find_recipe("pose3d"), find_recipe("action")
    assert (pose.clip_frames, pose.optimisation.global_batch, pose.optimisation.lr) == (243, 32, 2e-4)
    assert (pose.corruption.joint_mask_ratio, pose.corruption.frame_mask_ratio) == (0, 0)
    assert isinstance(action, ActionRecipe)
    assert (action.optimisation.global_batch, action.optimisation.lr, action.finetuning.lr_scale) == (32, 1e-3, 0.1)
    assert (action.head.hidden, action.head.dropout) == (2048, 0.5)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_known_by_its_name_and_explains_itself(name: str):
    make = recipes()[name]
    assert make().name == name
    assert make.__doc__
    assert make().to_tree()["optimisation"]["lr"] == make().optimisation.lr


def test_the_learning_rate_warms_up_in_equal_steps_and_decays_by_a_constant_factor():
    optimisation = Optimisation(steps=7, global_batch=1, lr=0.8, final_lr_ratio=1 / 16, warmup_steps=2)
    # 2 steps up: a half, the whole. Then from 0.8 at step 2 to 0.05 at step 6: halved four times.
    expected = [0.4, 0.8, 0.8, 0.4, 0.2, 0.1, 0.05]
    assert [optimisation.lr_at(step) for step in range(7)] == pytest.approx(expected)


@given(steps=st.integers(1, 50), warmup=st.integers(0, 49), ratio=st.floats(0.01, 1.0), lr=st.floats(1e-6, 1.0))
def test_the_learning_rate_ends_at_its_ratio_and_never_exceeds_its_top(
    steps: int, warmup: int, ratio: float, lr: float
):
    warmup = min(warmup, steps - 1)
    optimisation = Optimisation(steps=steps, global_batch=1, lr=lr, final_lr_ratio=ratio, warmup_steps=warmup)
    rates = [optimisation.lr_at(step) for step in range(steps)]
    assert max(rates) == pytest.approx(lr)
    assert rates[warmup] == pytest.approx(lr)
    if steps - warmup > 1:
        assert rates[-1] == pytest.approx(lr * ratio)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("global_batch", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("clip_norm", 0.0),
        ("weight_decay", -0.1),
        ("final_lr_ratio", 0.0),
        ("final_lr_ratio", 1.5),
        ("warmup_steps", 10),
        ("warmup_steps", -1),
    ],
)
def test_a_bad_optimisation_is_named(field: str, value: float):
    good = {"steps": 10, "global_batch": 4, "lr": 1e-3}
    with pytest.raises(ValueError, match=rf"optimisation\.{field}: expected .*found"):
        Optimisation(**(good | {field: value}))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_frames", 0),
        ("clip_frames", 28),
        ("seed", -1),
        ("detections_from_step", 12),
        ("detections_from_step", -1),
        ("source_weights", (("cmu", 1.0), ("cmu", 2.0))),
        ("source_weights", (("cmu", 0.0),)),
    ],
)
def test_a_bad_pretraining_recipe_is_named(field: str, value: object):
    recipe = small_recipe(steps=12)
    with pytest.raises(ValueError, match=f"^{field}: expected .*found"):
        replace(recipe, **{field: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("field", "value"),
    [("head.hidden", 0), ("head.dropout", 1.0)],
)
def test_a_bad_action_recipe_is_named(field: str, value: float):
    recipe = find_recipe("laptop_action")
    with pytest.raises(ValueError, match=rf"^{field}: expected .*found"):
        replace(recipe, **{field.removeprefix("head."): value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("name", "most"), [("laptop_pose3d", 3), ("laptop_action", 4)])
def test_no_more_parts_can_be_frozen_than_there_are(name: str, most: int):
    """Embeddings, two levels, and the rest, in which the pose head is."""
    recipe = find_recipe(name)
    assert isinstance(recipe, FinetuneRecipe)
    replace(recipe, finetuning=PartialFinetuning(frozen=most))
    with pytest.raises(ValueError, match=rf"^finetuning\.frozen: expected at most .*{most}.*, found {most + 1}"):
        replace(recipe, finetuning=PartialFinetuning(frozen=most + 1))
