"""Finetuning fans out: children of one parent run, in parallel as far as they fit, each for itself when it fails."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run

from datasets.loading.cache import Cache
from datasets.store.parquet import Store
from motion_encoder import ActionModel, DSTformer, DSTformerConfig, ModelCard, load, save
from motion_encoder.tasks.action import ActionRecipe
from motion_encoder.tasks.pose import Pose3dRecipe
from motion_encoder.tasks.recipe import Optimisation, Recipe
from motion_encoder.tasks.registry import find_recipe
from pipelines.finetune import FinetuneConfig, finetune
from pipelines.training.clips import segment_table
from pipelines.training.compute import ComputeConfig
from pipelines.training.config import RunConfig
from pipelines.training.mlflow_tracking import TrackingConfig, client, use
from pipelines.training.prepare import prepare
from tests.pipelines.conftest import CLIP_FRAMES, LABELS, LICENCES, SMALL

OPTIMISATION = Optimisation(steps=8, global_batch=8, lr=1e-2, warmup_steps=2)


def small_pose3d() -> Pose3dRecipe:
    return Pose3dRecipe(name="small_pose3d", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=OPTIMISATION)


def small_action() -> ActionRecipe:
    return ActionRecipe(
        name="small_action", encoder=SMALL, clip_frames=CLIP_FRAMES, optimisation=OPTIMISATION, hidden=8
    )


def exploding_pose3d() -> Pose3dRecipe:
    """Ends with an error that only a worker can see."""
    recipe = small_pose3d()
    return replace(recipe, name="exploding_pose3d", optimisation=replace(OPTIMISATION, lr=1e30))


def by_name(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


@dataclass(frozen=True)
class Place:
    config: FinetuneConfig
    encoder: DSTformer


@pytest.fixture
def place(
    two_cpus: None,
    store: Store,
    cache_folder: Path,
    tmp_path: Path,
    tracking: TrackingConfig,
) -> Place:
    """A pretrained encoder with a licence of its own, and recipes of seconds."""
    encoder = DSTformer(SMALL, torch.Generator().manual_seed(5))
    save(tmp_path / "pretrained", encoder, task="encoder", card=ModelCard(licences={"far away": "far licence"}))
    run = RunConfig(
        store=store.url,
        name="finetune",
        storage=str(tmp_path / "runs"),
        cache=str(cache_folder),
        compute=ComputeConfig(max_failures=1),
        tracking=tracking,
    )
    config = FinetuneConfig(run=run, recipes=by_name(small_pose3d()), model=str(tmp_path / "pretrained"))
    return Place(config, encoder)


def runs(where: TrackingConfig) -> tuple[list[Run], list[Run]]:
    """Parents and children."""
    experiment = client(where).get_experiment_by_name(where.experiment)
    assert experiment is not None
    found = client(where).search_runs([experiment.experiment_id])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def test_a_job_that_fails_is_named_and_stops_no_other(place: Place):
    config = replace(place.config, recipes=by_name(exploding_pose3d(), small_pose3d()), scratch=False)
    with pytest.raises(
        ValueError, match=r"1 of 2 jobs failed: exploding_pose3d-pretrained: .*step \d: .*not finite"
    ) as error:
        finetune(config)
    assert "Traceback" not in str(error.value)

    [parent], children = runs(config.run.tracking)
    assert parent.info.status == "FAILED"
    assert {run.info.run_name: run.info.status for run in children} == {
        "finetune-exploding_pose3d-pretrained": "FAILED",
        "finetune-small_pose3d-pretrained": "FINISHED",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}

    # Without the one that cannot work: nothing is trained again, and the parent is the same.
    finished = finetune(replace(config, recipes=by_name(small_pose3d())))
    [again], still = runs(config.run.tracking)
    assert (again.info.run_id, again.info.status) == (parent.info.run_id, "FINISHED")
    assert len(still) == 2

    use(config.run.tracking)
    model = load(finished["small_pose3d-pretrained"].model)
    assert isinstance(model, DSTformer)
    assert model.card.licences == {"far away": "far licence", **LICENCES}
    assert model.card.facts["init"] == config.model


@pytest.mark.slow
def test_tasks_and_starts_are_children_of_one_parent(place: Place):
    recipes = by_name(small_pose3d(), small_action())
    config = replace(place.config, recipes=recipes, steps=4, run=replace(place.config.run, name="fan"))
    finished = finetune(config)
    names = [f"small_{task}-{start}" for task in ("pose3d", "action") for start in ("pretrained", "scratch")]
    assert list(finished) == names

    [parent], children = runs(config.run.tracking)
    assert (parent.info.run_name, parent.info.status) == ("fan", "FINISHED")
    assert sorted(run.info.run_name or "" for run in children) == sorted(f"fan-{name}" for name in names)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.data.params["optimisation.steps"] for run in children} == {"4"}
    assert {run.data.params["optimisation.warmup_steps"] for run in children} == {"1"}
    assert most_at_once(children) == 2

    use(config.run.tracking)
    action = load(finished["small_action-pretrained"].model)
    assert isinstance(action, ActionModel)
    assert action.labels == LABELS
    assert {job.model.rpartition("/")[0] for job in finished.values()} == {
        "models:/motion-pose3d",
        "models:/motion-action",
    }
    licences = {name: load(job.model).card.licences for name, job in finished.items()}
    assert licences["small_action-pretrained"] == {"far away": "far licence", **LICENCES}
    assert licences["small_action-scratch"] == LICENCES


def most_at_once(children: list[Run]) -> int:
    begun = [(run.info.start_time, 1) for run in children]
    ended = [(run.info.end_time, -1) for run in children]
    at_once = most = 0
    for _, change in sorted(begun + ended):
        at_once += change
        most = max(most, at_once)
    return most


def test_the_encoder_is_the_pretrained_one_and_of_the_recipes_size(place: Place, training: Cache, tmp_path: Path):
    for recipe in (small_pose3d(), small_action()):
        found = prepare(recipe, segment_table(training), init=place.config.model).model.encoder
        assert all(torch.equal(found.state_dict()[name], each) for name, each in place.encoder.state_dict().items())

    other = DSTformerConfig(dim_feat=8, depth=1, num_heads=2, dim_rep=8, max_frames=27)
    save(tmp_path / "other", DSTformer(other, torch.Generator()), task="encoder", card=ModelCard())
    with pytest.raises(ValueError, match=r"expected an encoder of the recipe's size: dim_feat 16, found 8; dim_rep 16"):
        prepare(small_pose3d(), segment_table(training), init=str(tmp_path / "other"))


def test_an_action_model_gives_its_encoder_to_pose(place: Place, training: Cache, tmp_path: Path):
    """Whose pose head was frozen, and has to learn again."""
    table = segment_table(training)
    model = prepare(small_action(), table, init=place.config.model).model
    assert isinstance(model, ActionModel)
    save(tmp_path / "action", model, task="action", card=ModelCard())
    pose = prepare(small_pose3d(), table, init=str(tmp_path / "action")).model
    assert all(weight.requires_grad for weight in pose.parameters())


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(small_action(), label_source="nobody"), r"label_source: .*\['lab'\], found nobody"),
        (replace(small_pose3d(), encoder=replace(SMALL, dim_feat=8)), r"size: dim_feat 8, found 16"),
        (replace(small_pose3d(), encoder=replace(SMALL, max_frames=81), clip_frames=81), r"size: max_frames 81, found"),
        (find_recipe("pose3d"), r"size: dim_feat 512, found 16"),
    ],
    ids=["label source", "size", "clip length", "the published recipe"],
)
def test_a_mistake_is_found_before_a_cluster_starts(
    place: Place, recipe: Recipe, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.finetune.connect", lambda: pytest.fail("a cluster was started"))
    with pytest.raises(ValueError, match=message):
        finetune(replace(place.config, recipes=by_name(small_pose3d(), recipe)))


def test_more_workers_than_clips_in_a_batch_is_an_error(place: Place):
    wide = replace(place.config.run, compute=ComputeConfig(workers=9))
    with pytest.raises(ValueError, match="workers: expected at most the recipe's global_batch of 8 clips, found 9"):
        finetune(replace(place.config, run=wide))


def test_no_recipe_is_an_error(place: Place):
    with pytest.raises(ValueError, match="recipes: expected at least one, found none"):
        replace(place.config, recipes={})


def test_no_steps_is_an_error_and_not_the_recipes_own(place: Place):
    with pytest.raises(ValueError, match=r"optimisation\.steps: expected more than 0, found 0"):
        finetune(replace(place.config, steps=0))


def test_a_model_that_the_registry_does_not_have_is_an_error(place: Place):
    with pytest.raises(ValueError, match="models:/motion-encoder@champion: not found in the registry"):
        finetune(replace(place.config, model="models:/motion-encoder@champion"))
