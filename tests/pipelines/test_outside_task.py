"""A task of another package (``raised_hands.py``) is trained, registered, pulled, exported and scored by name alone."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import ray
import torch

from datasets.store.parquet import Store
from motion_encoder import load
from motion_encoder.io.export import export_onnx
from motion_encoder.tasks import registry
from motion_encoder.tasks.registry import find_recipe, find_task
from pipelines import finetune as finetuning
from pipelines.evaluate import EvaluateConfig, evaluate
from pipelines.finetune import finetune
from pipelines.runtime.cluster import connect
from pipelines.training.mlflow_tracking import TrackingConfig, use
from pipelines.training.run import Finished

MODULE = Path(__file__).with_name("raised_hands.py")
RECIPE = "raised_hands:raised_hands"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module where a user has theirs: outside the checkout, on the path of the driver."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copy(MODULE, folder)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.setattr(registry, "_REGISTERED", {})
    yield importlib.import_module(MODULE.stem)
    sys.modules.pop(MODULE.stem)
    patch.undo()


@dataclass(frozen=True)
class Trained:
    finished: Finished
    tracking: TrackingConfig


@pytest.fixture(scope="module")
def trained(
    package: ModuleType,
    store: Store,
    cache_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
) -> Iterator[Trained]:
    """Trained from scratch by the finetuning job, as its command line asks for it."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copy(empty_database, folder / "mlflow.db")
    tracking = TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", experiment="tests")
    encoder = folder / "encoder"
    motion_encoder_save(encoder)
    config = finetuning.configure(
        [
            *(RECIPE, "--store", store.url, "--storage", f"{folder}/runs", "--cache", str(cache_folder)),
            *("--model", str(encoder), "--no-scratch", "--recipes.raised-hands.no-bias"),
            *("--tracking.uri", tracking.uri, "--tracking.experiment", "tests"),
        ]
    )
    patch = pytest.MonkeyPatch()
    patch.delenv("RAY_ADDRESS", raising=False)
    ray.shutdown()
    connect(num_cpus=2, outside=[package.__name__])
    [finished] = finetune(config).values()
    yield Trained(finished, tracking)
    ray.shutdown()
    patch.undo()


def motion_encoder_save(folder: Path) -> None:
    from motion_encoder import DSTformer, ModelCard, save

    encoder = DSTformer(find_recipe(RECIPE).encoder, torch.Generator().manual_seed(0))
    save(folder, encoder, task="encoder", card=ModelCard())


def test_it_learns(trained: Trained):
    [score] = trained.finished.scores
    assert score.protocol.metric == "raised_accuracy"
    assert score.value > 0.85  # a hand is up in about half of the frames of one of two people
    assert trained.finished.model == "models:/motion-raised-hands/1"


def test_it_is_pulled_and_scored_by_its_alias(trained: Trained, store: Store, cache_folder: Path):
    use(trained.tracking)
    model = load("models:/motion-raised-hands@champion")
    assert type(model).__name__ == "RaisedHands"
    assert model.head_settings() == {"bias": False}  # as the command line said
    scores = evaluate(
        EvaluateConfig(
            model="models:/motion-raised-hands@champion",
            store=store.url,
            cache=str(cache_folder),
            tracking=trained.tracking,
            modules=(MODULE.stem,),
        )
    )
    assert scores == trained.finished.scores


def test_it_is_exported(trained: Trained, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    use(trained.tracking)
    model = load(trained.finished.model)
    export_onnx(model, tmp_path / "m.onnx", task="raised-hands")
    x_BTJC = torch.rand(3, 7, 17, 3, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    [found] = session.run(["raised"], {"keypoints": x_BTJC.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(x_BTJC).numpy(), atol=1e-4)


def test_plain_mlflow_serves_it_where_its_package_is_not_installed(trained: Trained, tmp_path: Path):
    """The module travels with the model."""
    code = f"""
import mlflow, numpy, sys
mlflow.set_tracking_uri({trained.tracking.uri!r})
assert "raised_hands" not in sys.modules
found = mlflow.pyfunc.load_model("models:/motion-raised-hands@champion").predict(numpy.zeros((2, 5, 17, 3), "float32"))
assert found.shape == (2, 5), found.shape
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_its_module_the_error_says_which_to_import(trained: Trained, monkeypatch: pytest.MonkeyPatch):
    use(trained.tracking)
    monkeypatch.setattr(registry, "_REGISTERED", {})
    with pytest.raises(ValueError, match="'raised-hands' is defined in the module raised_hands, which is not imported"):
        load(trained.finished.model)


def test_an_entry_point_makes_task_and_recipes_known(package: ModuleType, monkeypatch: pytest.MonkeyPatch):
    offered = EntryPoints([EntryPoint(name="hands", value=package.__name__, group=registry.ENTRY_POINTS)])
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(registry, "entry_points", lambda group: offered.select(group=group))
    registry._offered_modules.cache_clear()
    try:
        assert find_task("raised-hands") is package.TASKS[0]
        assert find_recipe("raised_hands") == package.raised_hands()
    finally:
        registry._offered_modules.cache_clear()


def test_a_second_task_of_one_name_is_an_error(package: ModuleType):
    class Other(package.RaisedHandsTask):
        name = "action"

    with pytest.raises(ValueError, match="task 'action': expected a new name, found one that Action has"):
        registry.register_task(Other())
