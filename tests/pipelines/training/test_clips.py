"""Which clips are trained on and scored: everything that is asked for, nothing else, whoever shares the work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.loading.cache import Cache, fill
from motion_encoder.clips import Clips
from motion_encoder.tasks.action import ActionRecipe
from motion_encoder.tasks.pose import Pose3dRecipe, PretrainRecipe
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import find_task
from motion_encoder.tasks.task import ClipChoice, SegmentTable
from pipelines.training.clips import (
    TrainingClips,
    check_choice,
    every_window,
    manifest_table,
    segment_table,
    training_clips,
)
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


def everything(cache: Cache, recipe: PretrainRecipe) -> TrainingClips:
    return training_clips(cache, ClipChoice(chosen_N=np.ones(len(cache.segments), bool)), recipe)


def clips_for(recipe: Recipe, cache: Cache) -> TrainingClips:
    """What the recipe's task trains on."""
    return training_clips(cache, find_task(recipe.task).choose_clips(recipe, segment_table(cache)), recipe)


@pytest.mark.parametrize("world_size", [2, 3, BATCH])
def test_workers_share_one_global_batch(training: Cache, world_size: int):
    clips_of = everything(training, small_recipe())
    for step in (0, 5):
        positions, whole = clips_of.at(step, Worker())
        parts = [clips_of.at(step, Worker(rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert np.concatenate([position for position, _ in parts]).tolist() == positions.tolist() == list(range(BATCH))
        for name in ("points_BTJ3", "confidence_BTJ", "has_depth_B", "label_B"):
            joined = np.concatenate([getattr(clips, name).numpy() for _, clips in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name).numpy())
        np.testing.assert_array_equal(np.concatenate([lengths(clips) for _, clips in parts]), lengths(whole))


def lengths(clips: Clips) -> np.ndarray:
    """Frames of each clip that are no padding."""
    batch, frames = clips.confidence_BTJ.shape[:2]
    return np.full(batch, frames) if clips.valid_BT is None else clips.valid_BT.sum(dim=1).numpy()


def test_a_clip_is_frames_of_one_stored_motion(training: Cache):
    """Found again in the sequences that were stored, by their frames alone."""
    _, clips = everything(training, small_recipe()).at(0, Worker())
    stored_3d = {each.sequence_id: each.keypoints_3d_TJC for each in LAB["train"]}
    stored_2d = {each.sequence_id: each.keypoints_2d_TJC for each in STREET["train"]}
    for clip in range(BATCH):
        length = lengths(clips)[clip]
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
    assert any(clips.valid_BT is not None for clips in batches)


def sources_of(recipe: Recipe, cache: Cache, steps: range) -> set[tuple[bool, bool]]:
    """(has depth, has a label) of the clips that a recipe trains on."""
    clips_of = clips_for(recipe, cache)
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
        "pretraining": recipe,
        "pose3d": Pose3dRecipe(name="pose3d", **common),
        "action": ActionRecipe(name="action", hidden=8, **common),
    }
    found = {name: sources_of(each, training, range(12)) for name, each in tasks.items()}
    assert found == {
        "pretraining": {(True, True), (True, False), (False, False)},
        "pose3d": {(True, True), (True, False)},
        "action": {(True, True)},
    }


def test_detections_join_when_the_recipe_says(training: Cache):
    recipe = replace(small_recipe(), detections_from_step=4)
    assert sources_of(recipe, training, range(4)) == {(True, True), (True, False)}
    assert (False, False) in sources_of(recipe, training, range(4, 5))


def test_source_weights_set_the_mix(training: Cache):
    clips_of = clips_for(replace(small_recipe(), source_weights=(("lab", 1.0), ("street", 3.0))), training)
    flat_B = torch.cat([~clips_of.at(step, Worker())[1].has_depth_B for step in range(128)])
    assert flat_B[:1024].sum() == 768  # a whole pattern of the sampler


def test_a_weight_for_a_source_that_is_not_there_is_an_error(training: Cache):
    with pytest.raises(ValueError, match=r"source_weights: amass: .*lab, street"):
        clips_for(replace(small_recipe(), source_weights=(("amass", 1.0),)), training)


@pytest.mark.parametrize(
    ("sources", "reason"),
    [({"lab": LAB}, "no 2D-only source"), ({"street": STREET}, "nothing but 2D-only sources")],
)
def test_a_curriculum_without_effect_is_an_error(sources: dict, reason: str, tmp_path: Path):
    store = write_store(str(tmp_path / "store"), sources)
    recipe = replace(small_recipe(), detections_from_step=4)
    for table in (segment_table(fill(store, "train", tmp_path / "cache")), manifest_table(store, "train")):
        with pytest.raises(ValueError, match=f"detections_from_step 4 has no effect: .*{reason}"):
            find_task(recipe.task).choose_clips(recipe, table)


def test_a_store_without_3d_cannot_teach_3d(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"street": {"train": [detection("a", 12)]}})
    optimisation = small_recipe().optimisation
    recipe = Pose3dRecipe(name="p", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=optimisation)
    for table in (segment_table(fill(store, "train", tmp_path / "cache")), manifest_table(store, "train")):
        with pytest.raises(ValueError, match=r"split train: expected 3D motion to learn from, found none"):
            find_task(recipe.task).choose_clips(recipe, table)


def test_an_empty_split_is_an_error(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"lab": {"test": LAB["test"]}})
    for table in (segment_table(fill(store, "train", tmp_path / "cache")), manifest_table(store, "train")):
        choice = find_task("encoder").choose_clips(small_recipe(), table)
        with pytest.raises(ValueError, match="split train: expected segments to train on, found none"):
            check_choice(choice, table)


def test_a_manifest_tells_the_same_kinds_of_segments_as_the_cache(training: Cache):
    def kinds(table: SegmentTable) -> set[tuple[str, bool]]:
        return set(zip(table.source_N.tolist(), table.has_3d_N.tolist(), strict=True))

    table = manifest_table(training.store, "train")
    assert kinds(table) == kinds(segment_table(training)) == {("lab", True), ("street", False)}
    assert table.labels == segment_table(training).labels
    assert dict(zip(table.source_N.tolist(), table.label_N.tolist(), strict=True)) == {"lab": 0, "street": -1}


@pytest.mark.parametrize("steps", [range(0), range(3, 4), range(2, 9)])
def test_batches_that_are_gathered_ahead_are_those_of_their_steps(training: Cache, steps: range):
    clips_of = everything(training, small_recipe())
    found = list(clips_of.ahead(steps, Worker()))
    assert len(found) == len(steps)
    for step, (position_B, clips) in zip(steps, found, strict=True):
        expected_B, expected = clips_of.at(step, Worker())
        assert position_B.tolist() == expected_B.tolist()
        assert torch.equal(clips.points_BTJ3, expected.points_BTJ3)


def test_an_error_while_gathering_ahead_is_raised_at_its_step(training: Cache, monkeypatch: pytest.MonkeyPatch):
    clips_of = everything(training, small_recipe())
    at = TrainingClips.at

    def damaged(self: TrainingClips, step: int, worker: Worker):
        if step == 2:
            raise OSError("a page of the cache cannot be read")
        return at(self, step, worker)

    monkeypatch.setattr(TrainingClips, "at", damaged)
    batches = clips_of.ahead(range(5), Worker())
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(OSError, match="a page of the cache"):
        next(batches)


def test_labels_of_two_sources_need_a_choice(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"lab": LAB, "other": LAB})
    cache = fill(store, "train", tmp_path / "cache")
    recipe = ActionRecipe(
        name="a", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=small_recipe().optimisation, hidden=8
    )
    task = find_task("action")
    for table in (segment_table(cache), manifest_table(store, "train")):
        with pytest.raises(ValueError, match=r"label_source: .*\['lab', 'other'\], found None"):
            task.choose_clips(recipe, table)
        with pytest.raises(ValueError, match=r"label_source: .*found street"):
            task.choose_clips(replace(recipe, label_source="street"), table)
    clips_of = clips_for(replace(recipe, label_source="other"), cache)
    assert cache.segments.source[np.concatenate(clips_of.segments)].tolist() == ["other"] * 5
