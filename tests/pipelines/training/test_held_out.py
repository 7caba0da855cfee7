"""Scores by their definition: in millimetres of the real body, over every frame once, whoever shares the work."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.loading.cache import Cache, fill
from datasets.loading.gather import gather
from motion_encoder import ActionHeadConfig, ActionModel, DSTformer, ModelCard, save
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.metrics import Score
from motion_encoder.observation import TEST_VIEWS, Observation, observe
from motion_encoder.tasks.registry import find_task
from pipelines.evaluate import EvaluateConfig, evaluate
from pipelines.training.clips import every_window
from pipelines.training.held_out import EVALUATION_SEED, HeldOutPeople
from pipelines.training.mlflow_tracking import TrackingConfig, client
from pipelines.training.worker import Worker
from tests.pipelines.conftest import CLIP_FRAMES, LAB, LABELS, SMALL, STREET, move, sequence, write_store

MM = 1000.0


def pose_scores(model: DSTformer, cache: Cache, clip_frames: int, worker: Worker) -> tuple[Score, ...]:
    return find_task("pose3d").score(model.eval(), HeldOutPeople.of(cache, worker), clip_frames)


def action_scores(model: ActionModel, cache: Cache, clip_frames: int, worker: Worker) -> tuple[Score, ...]:
    return find_task("action").score(model.eval(), HeldOutPeople.of(cache, worker), clip_frames)


def small_network() -> DSTformer:
    return DSTformer(SMALL, torch.Generator().manual_seed(0))


class Collapsed(DSTformer):
    """Says that every joint is at the root: its error is a fact about the body, whatever the view."""

    def forward(self, x_BTJC: Tensor, valid: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x_BTJC)


def collapsed() -> DSTformer:
    return Collapsed(SMALL, torch.Generator())


def held_out_frames() -> np.ndarray:
    """All frames of all held-out people with 3D, [frames, 17, 3] in mm."""
    motions = [each.keypoints_3d_TJC for each in LAB["test"]]
    return MM * np.concatenate([motion for motion in motions if motion is not None]).astype(np.float64)


def test_a_collapsed_skeleton_is_off_by_the_distance_of_the_joints_from_the_root(held_out: Cache):
    frames_TJ3 = held_out_frames()
    distance_T = np.linalg.norm(frames_TJ3 - frames_TJ3[:, :1], axis=-1).mean(axis=-1)
    root, _ = pose_scores(collapsed(), held_out, CLIP_FRAMES, Worker())
    assert root.value == pytest.approx(distance_T.mean(), rel=1e-5)
    assert (root.protocol.metric, root.protocol.alignment, root.protocol.scale) == ("mpjpe_mm", "root", "true")
    assert not root.higher_is_better


def test_an_aligned_collapsed_skeleton_is_off_by_the_distance_from_the_middle(held_out: Cache):
    frames_TJ3 = held_out_frames()
    distance_T = np.linalg.norm(frames_TJ3 - frames_TJ3.mean(axis=1, keepdims=True), axis=-1).mean(axis=-1)
    _, aligned = pose_scores(collapsed(), held_out, CLIP_FRAMES, Worker())
    assert aligned.value == pytest.approx(distance_T.mean(), rel=1e-5)
    assert (aligned.protocol.metric, aligned.protocol.alignment) == ("p_mpjpe_mm", "procrustes")


@pytest.mark.parametrize("clip_frames", [1, 4, 9, 20, 27])
def test_the_mean_is_over_frames_however_they_are_cut_into_windows(held_out: Cache, clip_frames: int):
    """A mean of windows' means would weigh the frames of a short tail more."""
    nine, other = (pose_scores(collapsed(), held_out, frames, Worker()) for frames in (CLIP_FRAMES, clip_frames))
    assert [score.value for score in other] == pytest.approx([score.value for score in nine], rel=1e-5)
    assert all(f"/T{clip_frames}/test/" in score.protocol.key for score in other)


def seen(cache: Cache) -> Observation:
    """What the evaluation sees of all windows with 3D, by its documented key."""
    has_3d_N = cache.segments.first_3d >= 0
    segment_W, start_W, length_W = every_window(cache.segments.num_frames, has_3d_N, CLIP_FRAMES)
    clips = gather(cache, segment_W, start_W, length_W, CLIP_FRAMES)
    random = KeyedRandom.at(EVALUATION_SEED, 0, torch.arange(len(segment_W)))
    return observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, TEST_VIEWS)


class Oracle(DSTformer):
    """Knows the truth of all windows, and says it with an error of its own."""

    def __init__(self, truth: Observation, error_J3_mm: Tensor) -> None:
        super().__init__(SMALL, torch.Generator())
        self._answer = truth.target_BTJ3 + error_J3_mm / MM * truth.scale_BT[..., None, None]

    def forward(self, x_BTJC: Tensor, valid: Tensor | None = None) -> Tensor:
        return self._answer


def test_the_truth_has_no_error(held_out: Cache):
    scores = pose_scores(Oracle(seen(held_out), torch.zeros(17, 3)), held_out, CLIP_FRAMES, Worker())
    assert [score.value for score in scores] == pytest.approx([0, 0], abs=0.05)


def test_an_error_in_millimetres_is_reported_in_millimetres(held_out: Cache):
    error_J3_mm = torch.zeros(17, 3)
    error_J3_mm[13] = torch.tensor([3.0, 0.0, 4.0])  # one joint of 17, 5 mm
    root, _ = pose_scores(Oracle(seen(held_out), error_J3_mm), held_out, CLIP_FRAMES, Worker())
    assert root.value == pytest.approx(5 / 17, rel=1e-3)


def test_an_error_of_the_whole_body_is_none_after_alignment(held_out: Cache):
    error_J3_mm = torch.tensor([30.0, -20.0, 50.0]).expand(17, 3)
    root, aligned = pose_scores(Oracle(seen(held_out), error_J3_mm), held_out, CLIP_FRAMES, Worker())
    assert root.value == pytest.approx(0, abs=0.05)  # both are relative to their own root
    assert aligned.value == pytest.approx(0, abs=0.05)


def test_unobserved_joints_and_frames_without_a_root_do_not_count(tmp_path: Path):
    person = sequence("p", 12)
    confidence_TJ = np.ones((12, 17), np.float32)
    confidence_TJ[:, 13] = 0
    confidence_TJ[4, 0] = 0
    points_TJC = move("raise", 12)
    people = [
        replace(person, confidence_TJ=confidence_TJ, keypoints_3d_TJC=points_TJC * (confidence_TJ > 0)[..., None])
    ]
    cache = fill(write_store(str(tmp_path / "store"), {"lab": {"test": people}}), "test", tmp_path / "cache")

    kept = MM * np.delete(np.delete(points_TJC.astype(np.float64), 4, axis=0), 13, axis=1)
    root, _ = pose_scores(collapsed(), cache, CLIP_FRAMES, Worker())
    assert root.value == pytest.approx(np.linalg.norm(kept - kept[:, :1], axis=-1).mean(), rel=1e-5)


def test_people_without_3d_are_not_scored_and_nobody_else_is_an_error(held_out: Cache, tmp_path: Path):
    without = write_store(str(tmp_path / "lab"), {"lab": LAB})
    alone = pose_scores(collapsed(), fill(without, "test", tmp_path / "cache"), CLIP_FRAMES, Worker())
    assert alone[0].value == pytest.approx(pose_scores(collapsed(), held_out, CLIP_FRAMES, Worker())[0].value)
    only_2d = fill(write_store(str(tmp_path / "street"), {"street": STREET}), "test", tmp_path / "cache")
    with pytest.raises(ValueError, match="split test: expected 3D motion to score on, found none"):
        pose_scores(collapsed(), only_2d, CLIP_FRAMES, Worker())


@dataclass(frozen=True, kw_only=True)
class Recorder(Worker):
    """One of several workers: keeps its part of the sum; given the sum of all parts, answers with that."""

    parts: list[Tensor]
    whole: Tensor | None = None

    def total(self, local: Tensor) -> Tensor:
        self.parts.append(local)
        return local if self.whole is None else self.whole


@pytest.mark.parametrize("world_size", [2, 3, 20])
def test_scores_do_not_depend_on_the_number_of_workers(held_out: Cache, world_size: int):
    network = small_network()
    parts: list[Tensor] = []
    for rank in range(world_size):
        worker = Recorder(rank=rank, world_size=world_size, parts=parts, whole=torch.ones(3))
        pose_scores(network, held_out, CLIP_FRAMES, worker)
    whole = torch.stack(parts).sum(dim=0)
    assert whole[0] == len(held_out_frames())
    together = pose_scores(network, held_out, CLIP_FRAMES, Recorder(world_size=world_size, parts=[], whole=whole))
    alone = pose_scores(network, held_out, CLIP_FRAMES, Worker())
    assert [score.value for score in together] == pytest.approx([score.value for score in alone], rel=1e-5)


def test_the_protocol_names_the_data_of_the_split(held_out: Cache, tmp_path: Path):
    more = {split: [*people, sequence(f"more {split}", 6)] for split, people in LAB.items()}
    keys = {}
    for name, sources in {
        "more training": {"lab": LAB | {"train": more["train"]}, "street": STREET},
        "more held out": {"lab": LAB | {"test": more["test"]}, "street": STREET},
    }.items():
        cache = fill(write_store(str(tmp_path / name), sources), "test", tmp_path / "cache")
        keys[name] = pose_scores(collapsed(), cache, CLIP_FRAMES, Worker())[0].protocol.key
    key = pose_scores(collapsed(), held_out, CLIP_FRAMES, Worker())[0].protocol.key
    assert keys["more training"] == key
    assert keys["more held out"] != key


def action_model() -> ActionModel:
    random = torch.Generator().manual_seed(1)
    return ActionModel(DSTformer(SMALL, random), LABELS, ActionHeadConfig(hidden=8), random)


class Scripted(ActionModel):
    """Gives each window in turn the logits that were written down for it."""

    script: Tensor
    given = 0

    def forward(self, x_BPTJC: Tensor, valid_BT: Tensor | None = None, keep_BPTJR: Tensor | None = None) -> Tensor:
        self.given += len(x_BPTJC)
        return self.script[self.given - len(x_BPTJC) : self.given]


def scripted(logits: list[list[float]], label_source: str | None = None) -> Scripted:
    random = torch.Generator().manual_seed(1)
    config = ActionHeadConfig(hidden=8)
    model = Scripted(DSTformer(SMALL, random), LABELS, config, random, label_source=label_source)
    model.script = torch.tensor(logits)
    return model


def test_a_sequence_is_named_by_the_sum_of_its_windows_logits(held_out: Cache):
    # "held out" (squat, class 1) has segments of 10 and 10 frames, so 4 windows; "held out too" (raise) has 1.
    # Windows vote 3 to 1 for class 0, the sum says class 1.
    squat = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 4.0]]
    assert held_out.segments.num_frames[held_out.segments.label == 1].tolist() == [10, 10]
    [right] = action_scores(scripted([*squat, [2.0, 1.0]]), held_out, CLIP_FRAMES, Worker())
    [half] = action_scores(scripted([*squat, [1.0, 2.0]]), held_out, CLIP_FRAMES, Worker())
    assert (right.value, half.value) == (1.0, 0.5)
    assert right.higher_is_better
    assert right.protocol.metric == "top1"
    assert right.protocol.data.startswith("lab.")


@pytest.mark.parametrize("world_size", [2, 7])
def test_accuracy_does_not_depend_on_the_number_of_workers(held_out: Cache, world_size: int):
    parts: list[Tensor] = []
    for rank in range(world_size):
        worker = Recorder(rank=rank, world_size=world_size, parts=parts)
        action_scores(action_model(), held_out, CLIP_FRAMES, worker)
    alone: list[Tensor] = []
    action_scores(action_model(), held_out, CLIP_FRAMES, Recorder(parts=alone))
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), alone[0])


def test_sequences_of_one_name_in_two_sources_are_two(tmp_path: Path):
    """Only the sequences of the model's own source are scored, although another has the same names and labels."""
    swapped = [replace(each, label=1 - each.label) for each in LAB["test"] if each.label is not None]
    store = write_store(str(tmp_path / "store"), {"lab": {"test": LAB["test"]}, "other": {"test": swapped}})
    cache = fill(store, "test", tmp_path / "cache")
    logits = [[0.0, 1.0]] * 4 + [[1.0, 0.0]]
    scores = {
        source: action_scores(scripted(logits, source), cache, CLIP_FRAMES, Worker())[0]
        for source in ("lab", "other", None)
    }
    assert {source: score.value for source, score in scores.items()} == {"lab": 1.0, "other": 0.0, None: 1.0}
    assert scores[None].protocol.data.startswith("lab.")  # a model that does not say: the first of the same labels


def test_no_labels_is_an_error(tmp_path: Path):
    store = write_store(str(tmp_path / "store"), {"street": STREET})
    cache = fill(store, "test", tmp_path / "cache")
    assert not find_task("action").can_score(action_model(), HeldOutPeople.of(cache, Worker()).table)
    with pytest.raises(ValueError, match=r"split test: expected sequences with the labels .*raise.*, found none"):
        action_scores(action_model(), cache, CLIP_FRAMES, Worker())


def test_the_evaluate_job_scores_a_saved_model_and_tracks_it(
    held_out: Cache, cache_folder: Path, tmp_path: Path, tracking: TrackingConfig
):
    network = small_network()
    save(tmp_path / "m", network, task="encoder", card=ModelCard(clip_frames=CLIP_FRAMES))
    config = EvaluateConfig(
        model=str(tmp_path / "m"), store=held_out.store.url, cache=str(cache_folder), tracking=tracking
    )
    scores = evaluate(config)
    assert scores == pose_scores(network, held_out, CLIP_FRAMES, Worker())
    mlflow_client = client(tracking)
    experiment = mlflow_client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    [run] = mlflow_client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {score.protocol.key: score.value for score in scores}
    assert run.data.tags["store.digest"] == held_out.store.manifest.digest
    assert run.data.tags["model"] == str(tmp_path / "m")
    assert run.info.status == "FINISHED"

    in_fours = evaluate(replace(config, clip_frames=4))
    assert {score.protocol.clip_frames for score in in_fours} == {4}


def test_a_model_that_does_not_say_its_clip_length_is_scored_at_its_longest(
    held_out: Cache, cache_folder: Path, tmp_path: Path, tracking: TrackingConfig
):
    save(tmp_path / "m", small_network(), task="encoder", card=ModelCard())
    config = EvaluateConfig(
        model=str(tmp_path / "m"), store=held_out.store.url, cache=str(cache_folder), tracking=tracking
    )
    assert {score.protocol.clip_frames for score in evaluate(config)} == {SMALL.max_frames}


def test_a_window_of_no_frames_is_an_error():
    with pytest.raises(ValueError, match="clip_frames: expected at least 1, found 0"):
        EvaluateConfig(model="m", store="s", clip_frames=0)


def test_a_model_whose_labels_no_source_has_is_an_error(
    held_out: Cache, cache_folder: Path, tmp_path: Path, tracking: TrackingConfig
):
    random = torch.Generator().manual_seed(0)
    model = ActionModel(DSTformer(SMALL, random), ("fly", "swim"), ActionHeadConfig(hidden=8), random)
    save(tmp_path / "m", model, task="action", card=ModelCard())
    config = EvaluateConfig(
        model=str(tmp_path / "m"), store=held_out.store.url, cache=str(cache_folder), tracking=tracking
    )
    with pytest.raises(ValueError, match=r"expected sequences with the labels .*fly"):
        evaluate(config)
