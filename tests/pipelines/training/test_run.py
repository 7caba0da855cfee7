"""Whole training runs on Ray Train: workers agree, what is interrupted goes on, what is finished is tracked.

One short run is trained for all tests of the module (``alone``); the others are compared with it.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray.cloudpickle
import torch
from torch import Tensor

from datasets.loading.cache import Cache
from datasets.store.parquet import Store
from motion_encoder import SIZES, DSTformer, ModelCard, load, save
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.losses import Sum
from motion_encoder.tasks.recipe import Optimisation, Recipe
from pipelines.training.clips import segment_table, training_clips
from pipelines.training.compute import ComputeConfig
from pipelines.training.config import Job, RunConfig
from pipelines.training.mlflow_tracking import TrackingConfig, client, use
from pipelines.training.prepare import prepare
from pipelines.training.run import Finished, execute, read_record, write_record
from pipelines.training.worker import Worker
from tests.pipelines.conftest import CLIP_FRAMES, LAB, LICENCES, small_recipe, write_store

STEPS = 24
CHECKPOINT_EVERY = 5
MakeJob = Callable[..., Job]

pytestmark = pytest.mark.usefixtures("two_cpus")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def config(folder: Path, store: Store, cache_folder: Path) -> MakeJob:
    base = RunConfig(
        name="alone",
        store=store.url,
        storage=str(folder / "runs"),
        tracking=TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", experiment="tests"),
        compute=ComputeConfig(workers=1),
        checkpoint_every=CHECKPOINT_EVERY,
        cache=str(cache_folder),
    )

    def make(*, recipe: Recipe | None = None, register_as: str = "encoder", init: str | None = None, **changes) -> Job:
        run = replace(base, **changes)
        return Job(run=run, recipe=recipe or small_recipe(steps=STEPS), register_as=register_as, init=init)

    return make


@pytest.fixture(scope="module")
def alone(two_cpus: None, config: MakeJob) -> Finished:
    """One worker, left alone."""
    return execute(config())


def weights(config: Job, finished: Finished) -> dict[str, Tensor]:
    use(config.run.tracking)
    return load(finished.model).state_dict()


def curve(config: Job, finished: Finished, name: str) -> dict[int, float]:
    """Value by step; a step that was done twice must have given the same twice."""
    values: dict[int, float] = {}
    for point in client(config.run.tracking).get_metric_history(finished.run_id, name):
        assert values.setdefault(point.step, point.value) == point.value
    return values


CURVES = ("loss", "loss/mpjpe", "loss/n_mpjpe", "loss/velocity", "loss/xy_2d", "grad_norm", "lr")
POINTS = [5, 10, 15, 20, 24]  # every ten steps, at each checkpoint, and at the end


def test_two_workers_follow_the_curve_of_one_to_the_same_weights(alone: Finished, config: MakeJob):
    together = execute(config(name="together", compute=ComputeConfig(workers=2)))
    for name in CURVES:
        single = curve(config(), alone, name)
        assert list(single) == POINTS
        assert curve(config(), together, name) == pytest.approx(single, rel=1e-4)
    assert [score.value for score in together.scores] == pytest.approx([s.value for s in alone.scores], rel=1e-4)
    single, double = weights(config(), alone), weights(config(), together)
    start = untrained(config())
    for name, tensor in single.items():
        torch.testing.assert_close(double[name], tensor, rtol=1e-3, atol=5e-5)
    moved = [(single[name] - tensor).abs().max().item() for name, tensor in start.items()]
    assert max(moved) > 100 * 5e-5  # the tolerance is far below what training does


def test_activation_checkpointing_changes_nothing(alone: Finished, config: MakeJob):
    recomputed = execute(config(name="recomputed", compute=ComputeConfig(activation_checkpointing=True)))
    for name in CURVES:
        assert curve(config(), recomputed, name) == pytest.approx(curve(config(), alone, name), rel=1e-5)


@pytest.mark.slow
def test_a_compiled_run_follows_the_curve(alone: Finished, config: MakeJob):
    compiled = config(name="compiled", compute=ComputeConfig(compile=True, workers=2))
    if shutil.which("g++") is None:
        with pytest.raises(ValueError, match=r"compile: CPU workers need the C\+\+ compiler g\+\+"):
            execute(compiled)
        return
    finished = execute(compiled)
    for name in CURVES:
        assert curve(config(), finished, name) == pytest.approx(curve(config(), alone, name), rel=1e-3)


def untrained(config: Job) -> dict[str, Tensor]:
    return DSTformer(config.recipe.encoder, torch.Generator().manual_seed(config.recipe.seed)).state_dict()


def test_a_mean_of_the_workers_means_would_be_another_loss(training: Cache):
    """The batches above tell the right division from the naive one, by far more than the tolerance."""
    table, recipe = segment_table(training), small_recipe()
    trained = prepare(recipe, table)
    task, model = trained.task, trained.model
    clips_of = training_clips(training, task.choose_clips(recipe, table), recipe)
    terms = task.loss_weights(recipe)

    def losses(step: int, rank: int) -> dict[str, Sum]:
        position_B, clips = clips_of.at(step, Worker(rank=rank, world_size=2))
        random = KeyedRandom.at(0, step, torch.from_numpy(position_B))
        return task.losses(recipe, model, model, clips, random)

    errors: dict[str, list[float]] = {name: [] for name in terms}
    for step in range(POINTS[0], STEPS, POINTS[0]):
        parts = losses(step, 0), losses(step, 1)
        for name in terms:
            right = sum(part[name].total.item() for part in parts) / sum(part[name].count.item() for part in parts)
            naive = sum(part[name].mean().item() for part in parts) / 2
            errors[name].append(abs(naive / right - 1))
    assert all(max(of_steps) > 1e-3 for of_steps in errors.values()), errors


@dataclass(frozen=True, kw_only=True)
class FatalOptimisation(Optimisation):
    """The process that asks for the learning rate of a step dies there, once."""

    dies_at: int
    marker: str

    def lr_at(self, step: int) -> float:
        if step == self.dies_at:
            try:
                Path(self.marker).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os._exit(1)
        return super().lr_at(step)


@pytest.fixture
def travels_by_value() -> Iterator[None]:
    """Workers cannot import the tests."""
    this_module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(this_module)
    yield
    ray.cloudpickle.unregister_pickle_by_value(this_module)


@pytest.mark.usefixtures("travels_by_value")
def test_a_worker_that_dies_costs_nothing_but_time(alone: Finished, config: MakeJob, tmp_path: Path):
    recipe = small_recipe(steps=STEPS)
    marker = tmp_path / "died"
    fatal = FatalOptimisation(**vars(recipe.optimisation), dies_at=13, marker=str(marker))
    revived = execute(config(name="revived", recipe=replace(recipe, optimisation=fatal)))
    assert marker.exists()
    assert revived.scores == alone.scores
    for name in CURVES:
        assert curve(config(), revived, name) == curve(config(), alone, name)
    expected, found = weights(config(), alone), weights(config(), revived)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_run_is_tracked(alone: Finished, config: MakeJob, store: Store, tmp_path: Path):
    mlflow_client = client(config().run.tracking)
    run = mlflow_client.get_run(alone.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "alone")
    assert run.data.params["optimisation.lr"] == "0.003"
    assert run.data.tags["store.digest"] == store.manifest.digest
    assert run.data.tags["git.commit"]
    recipe = json.loads(Path(mlflow_client.download_artifacts(alone.run_id, "recipe.json", str(tmp_path))).read_text())
    assert recipe == json.loads(json.dumps(config().recipe.to_tree()))
    system = {name for name in run.data.metrics if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= system
    assert {"frames_per_s", "data_wait_share"} <= set(run.data.metrics)


def test_held_out_scores_are_known_before_and_after(alone: Finished, config: MakeJob):
    for score in alone.scores:
        scores = curve(config(), alone, score.protocol.key)
        assert list(scores) == [0, STEPS]
        assert scores[STEPS] == score.value


def test_the_model_carries_its_licences_scores_and_origin(alone: Finished, config: MakeJob, store: Store):
    use(config().run.tracking)
    card = load(alone.model).card
    assert card.licences == LICENCES
    assert card.scores == alone.scores
    assert card.facts["store_digest"] == store.manifest.digest
    assert card.facts["recipe"]["name"] == "small"
    assert card.clip_frames == CLIP_FRAMES
    assert card.facts["step"] == STEPS


def test_only_the_last_checkpoints_are_kept_and_none_is_a_pickle(alone: Finished, config: MakeJob):
    folders = [path for path in (Path(config().run.storage) / "alone").glob("checkpoint_*") if path.is_dir()]
    assert len(folders) == 2
    names = {path.name.rpartition(".")[2] for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert names == {"safetensors", "json"}


def test_a_finished_run_is_not_run_again(alone: Finished, config: MakeJob):
    def versions() -> int:
        return len(client(config().run.tracking).search_model_versions("name = 'encoder'"))

    before = versions()
    assert execute(config()) == alone
    assert versions() == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("recipe", r"recipe\.optimisation\.lr: was 0\.003, now 0\.1"),
        ("seed", r"recipe\.seed: was 0, now 7"),
        ("store", r"store_digest: was '\w+', now '\w+'"),
        ("init", r"init: was None, now '/.*model'"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_a_name_belongs_to_one_recipe_store_and_start(config: MakeJob, tmp_path: Path, changed: str, named: str):
    recipe = config().recipe
    other = {
        "recipe": lambda: {"recipe": replace(recipe, optimisation=replace(recipe.optimisation, lr=0.1))},
        "seed": lambda: {"recipe": replace(recipe, seed=7)},
        "store": lambda: {"store": write_store(str(tmp_path / "store"), {"lab": LAB}).url},
        "init": lambda: {"init": saved(tmp_path / "model")},
    }[changed]()
    with pytest.raises(ValueError, match=f"run 'alone' in .* was started with other settings .*{named}") as error:
        execute(config(**other))
    assert str(error.value).count(": was ") == 1  # what is the same is not named


def saved(folder: Path) -> str:
    save(folder, DSTformer(small_recipe().encoder, torch.Generator()), task="encoder", card=ModelCard())
    return str(folder)


def test_a_run_that_never_got_to_a_checkpoint_leaves_its_name_free(tmp_path: Path):
    """A mistake in a recipe can be mended under the same name."""
    mistaken, mended = ({"recipe": {"label_source": source}} for source in ("nobody", "lab"))
    run = RunConfig(name="r", store="unused", storage=str(tmp_path))
    write_record(run, {**mistaken, "run_id": "1"})
    assert read_record(run, mistaken)["run_id"] == "1"
    assert read_record(run, mended) == {}
    (tmp_path / "r" / "checkpoint_1").mkdir()
    with pytest.raises(ValueError, match=r"recipe\.label_source: was 'nobody', now 'lab'"):
        read_record(run, mended)


def test_a_cluster_that_can_never_hold_the_run_is_an_error_at_once(config: MakeJob):
    with pytest.raises(ValueError, match="3 workers need 3 CPU, the cluster has 2"):
        execute(config(name="too wide", compute=ComputeConfig(workers=3)))
    with pytest.raises(ValueError, match="1 workers need 1 GPU, the cluster has 0"):
        execute(config(name="no gpu", compute=ComputeConfig(gpus_per_worker=1)))
    assert not (Path(config().run.storage) / "too wide").exists()


def test_a_loss_that_explodes_ends_the_run_at_once_and_leaves_no_checkpoint(
    config: MakeJob, capfd: pytest.CaptureFixture[str]
):
    """With restarts left: they would only meet it again."""
    recipe = small_recipe(steps=STEPS)
    exploding = replace(recipe, optimisation=replace(recipe.optimisation, lr=1e30))
    with pytest.raises(ValueError, match=r"^step \d: the loss or its gradient is not finite.*lower learning rate"):
        execute(config(name="exploding", recipe=exploding, compute=ComputeConfig(max_failures=3)))
    assert capfd.readouterr().err.count("filling the cache") <= 1
    assert not list((Path(config().run.storage) / "exploding").glob("checkpoint_*/progress.json"))
    [run] = client(config().run.tracking).search_runs(
        [client(config().run.tracking).get_experiment_by_name("tests").experiment_id],  # pyright: ignore[reportOptionalMemberAccess]
        "attributes.run_name = 'exploding'",
    )
    assert run.info.status == "FAILED"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_a_bad_option_of_a_run_is_named(config: MakeJob, fields: dict[str, object], named: str):
    with pytest.raises(ValueError, match=f"^{named}: expected .*found"):
        config(**fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [("workers", 0), ("cpus_per_worker", 0), ("gpus_per_worker", -1), ("gpus_per_worker", 2), ("max_failures", -1)],
)
def test_a_bad_option_of_compute_is_named(field: str, value: int):
    with pytest.raises(ValueError, match=rf"{field}: expected .*found {value}"):
        replace(ComputeConfig(), **{field: value})


def test_determinism_is_for_gpus(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="deterministic: has no effect on CPU workers"):
        ComputeConfig(deterministic=True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    network = DSTformer(SIZES["tiny"], torch.Generator())
    try:
        ComputeConfig(deterministic=True, gpus_per_worker=1).prepare(network, network)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_compiling_on_a_cpu_takes_a_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    network = DSTformer(SIZES["tiny"], torch.Generator())
    with pytest.raises(ValueError, match=r"C\+\+ compiler no-such-compiler on every node"):
        ComputeConfig(compile=True).prepare(network, network)


@pytest.mark.slow
def test_a_driver_killed_before_it_registered_leaves_one_version(config: MakeJob):
    """All steps are done, the version is made, and the record does not yet say so."""
    short = config(name="unregistered", recipe=small_recipe(steps=3, name="short"), register_as="late")
    finished = execute(short)
    record_path = Path(short.run.storage) / "unregistered" / "run.json"
    record = json.loads(record_path.read_text())
    del record["finished"]
    record_path.write_text(json.dumps(record))
    assert execute(short) == finished
    assert finished.model == "models:/late/1"
    assert len(client(short.run.tracking).search_model_versions("name = 'late'")) == 1
