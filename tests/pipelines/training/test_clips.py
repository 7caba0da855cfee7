"""Which clips are trained on and scored: everything that is asked for, nothing else, whoever shares the work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.loading.cache import Cache, fill
from pipelines.training.clips import every_window, training_clips
from pipelines.training.recipes import ActionRecipe, Pose3dRecipe, PretrainRecipe
from pipelines.training.tasks import make_task
from pipelines.training.worker import Worker
from tests.pipelines.conftest import BATCH, CLIP_FRAMES, LAB, SMALL, STREET, detection, small_recipe, write_store


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    data=st.data(),
    clip_frames=st.integers(1, 12),
)
def test_windows_cover_every_frame_of_the_chosen_segments_once(
    lengths: list[int], data: st.DataObject, clip_frames: int
):
    chosen = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    windows = zip(*every_window(np.array(lengths), np.array(chosen), clip_frames), strict=True)
    frames = [(segment, frame) for segment, start, length in windows for frame in range(start, start + length)]
    wanted = [(segment, frame) for segment, length in enumerate(lengths) if chosen[segment] for frame in range(length)]
    assert sorted(frames) == wanted
    assert len(list(zip(*every_window(np.array(lengths), np.array(chosen), clip_frames), strict=True))) == sum(
        int(np.ceil(length / clip_frames)) for length, is_chosen in zip(lengths, chosen, strict=True) if is_chosen
    )


def everything(cache: Cache, recipe: PretrainRecipe):
    return training_clips(cache, np.ones(len(cache.segments), bool), recipe, weights={}, joins_at={})


@pytest.mark.parametrize("world_size", [2, 3, BATCH])
def test_workers_share_one_global_batch(training: Cache, world_size: int):
    clips_of = everything(training, small_recipe())
    for step in (0, 5):
        positions, whole = clips_of.at(step, Worker())
        parts = [clips_of.at(step, Worker(rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert np.concatenate([position for position, _ in parts]).tolist() == positions.tolist() == list(range(BATCH))
        for name in ("points_BTJ3", "confidence_BTJ", "has_depth_B", "valid_BT", "label_B"):
            joined = np.concatenate([getattr(clips, name).numpy() for _, clips in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name).numpy())


def test_a_clip_is_frames_of_one_stored_motion(training: Cache):
    """Found again in the sequences that were stored, by their frames alone."""
    _, clips = everything(training, small_recipe()).at(0, Worker())
    stored_3d = {each.sequence_id: each.keypoints_3d_TJC for each in LAB["train"]}
    stored_2d = {each.sequence_id: each.keypoints_2d_TJC for each in STREET["train"]}
    for clip in range(BATCH):
        length = int(clips.valid_BT[clip].sum())
        has_depth = bool(clips.has_depth_B[clip])
        points = clips.points_BTJ3[clip, :length, :, : 3 if has_depth else 2].numpy()
        assert any(
            np.array_equal(points, motion[start : start + length])
            for motion in (stored_3d if has_depth else stored_2d).values()
            if motion is not None
            for start in range(len(motion) - length + 1)
        )


def test_a_batch_mixes_both_kinds_of_supervision_and_lengths(training: Cache):
    """What the tests of the loss curve rely on."""
    clips_of = everything(training, small_recipe())
    batches = [clips_of.at(step, Worker())[1] for step in range(12)]
    assert all(clips.has_depth_B.any() and not clips.has_depth_B.all() for clips in batches)
    assert any(not clips.valid_BT.all() for clips in batches)


def sources_of(task: object, cache: Cache, steps: range) -> set[tuple[bool, bool]]:
    """(has depth, has a label) of the clips that a task trains on."""
    clips_of = task.training_clips(cache)  # pyright: ignore[reportAttributeAccessIssue]
    batches = [clips_of.at(step, Worker())[1] for step in steps]
    return {
        (depth, label >= 0)
        for clips in batches
        for depth, label in zip(clips.has_depth_B.tolist(), clips.label_B.tolist(), strict=True)
    }


def test_each_task_trains_on_what_it_can_learn_from(training: Cache):
    recipe = small_recipe()
    common = {name: getattr(recipe, name) for name in ("encoder", "clip_frames", "optimisation")}
    tasks = {
        "pretraining": make_task(recipe, training, None),
        "pose3d": make_task(Pose3dRecipe(name="pose3d", **common), training, None),
        "action": make_task(ActionRecipe(name="action", hidden=8, **common), training, None),
    }
    found = {name: sources_of(task, training, range(12)) for name, task in tasks.items()}
    assert found == {
        "pretraining": {(True, True), (True, False), (False, False)},
        "pose3d": {(True, True), (True, False)},
        "action": {(True, True)},
    }


def test_wild_sources_join_when_the_recipe_says(training: Cache):
    task = make_task(replace(small_recipe(), wild_from_step=4), training, None)
    assert sources_of(task, training, range(4)) == {(True, True), (True, False)}
    assert (False, False) in sources_of(task, training, range(4, 5))


def test_source_weights_set_the_mix(training: Cache):
    task = make_task(replace(small_recipe(), source_weights=(("lab", 1.0), ("street", 3.0))), training, None)
    clips_of = task.training_clips(training)
    wild_B = torch.cat([~clips_of.at(step, Worker())[1].has_depth_B for step in range(128)])
    assert wild_B[:1024].sum() == 768  # a whole pattern of the sampler


def test_a_weight_for_a_source_that_is_not_there_is_an_error(training: Cache):
    task = make_task(replace(small_recipe(), source_weights=(("amass", 1.0),)), training, None)
    with pytest.raises(ValueError, match=r"source_weights: amass: .*\['lab', 'street'\]"):
        task.training_clips(training)


@pytest.mark.parametrize(
    ("sources", "reason"),
    [({"lab": LAB}, "no 2D-only source"), ({"street": STREET}, "nothing but 2D-only sources")],
)
def test_a_curriculum_without_effect_is_an_error(sources: dict, reason: str, tmp_path: Path):
    cache = fill(write_store(str(tmp_path / "store"), sources), "train", tmp_path / "cache")
    task = make_task(replace(small_recipe(), wild_from_step=4), cache, None)
    with pytest.raises(ValueError, match=f"wild_from_step 4 has no effect: .*{reason}"):
        task.training_clips(cache)


def test_a_store_without_3d_cannot_teach_3d(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"street": {"train": [detection("a", 12)]}})
    cache = fill(store, "train", tmp_path / "cache")
    recipe = small_recipe()
    task = make_task(
        Pose3dRecipe(name="p", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=recipe.optimisation), cache, None
    )
    with pytest.raises(ValueError, match=r"expected segments to train on in split train, found none.*street"):
        task.training_clips(cache)


def test_labels_of_two_sources_need_a_choice(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"lab": LAB, "other": LAB})
    cache = fill(store, "train", tmp_path / "cache")
    recipe = ActionRecipe(
        name="a", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=small_recipe().optimisation, hidden=8
    )
    with pytest.raises(ValueError, match=r"label_source: .*\['lab', 'other'\], found None"):
        make_task(recipe, cache, None)
    with pytest.raises(ValueError, match=r"label_source: .*found street"):
        make_task(replace(recipe, label_source="street"), cache, None)
    task = make_task(replace(recipe, label_source="other"), cache, None)
    assert cache.segments.source[np.concatenate(task.training_clips(cache).segments)].tolist() == ["other"] * 5
