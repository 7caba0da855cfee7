"""What MLflow is told, and who becomes champion."""

import json
import logging
import pickletools
import subprocess
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from motion_encoder import DSTformer, ModelCard, load, save
from motion_encoder.metrics import Protocol, Score
from pipelines.training import mlflow_tracking as tracked
from pipelines.training.mlflow_tracking import CHAMPION, MetricLog, TrackingConfig, client, flatten, pinned, register
from tests.pipelines.conftest import SMALL

CHECKOUT = Path(__file__).resolve().parents[3]
PROTOCOL = Protocol(
    metric="mpjpe_mm", alignment="root", scale="true", input="projected-2d", clip_frames=9, split="test", data="abc"
)


def score(value: float, protocol: Protocol = PROTOCOL) -> Score:
    return Score(protocol=protocol, value=value, higher_is_better=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(folder, DSTformer(SMALL, torch.Generator().manual_seed(0)), task="encoder", card=ModelCard())
    return folder


def new_run(where: TrackingConfig) -> str:
    with tracked.run(where, "a run", params={}, tags={}) as run_id:
        return run_id


def register_run(where: TrackingConfig, model: Path, value: Score, run_id: str | None = None) -> str:
    run_id = run_id or new_run(where)
    return register(where, model, name="m", run_id=run_id, score=value, tags={"store.digest": "d"})


def champion(where: TrackingConfig) -> str:
    return str(client(where).get_model_version_by_alias("m", CHAMPION).version)


def test_the_champion_changes_only_for_a_better_score_of_the_same_protocol(
    tracking: TrackingConfig, model: Path, caplog: pytest.LogCaptureFixture
):
    assert register_run(tracking, model, score(50.0)) == champion(tracking) == "1"  # the first has no rival
    register_run(tracking, model, score(50.0))
    assert champion(tracking) == "1"  # as good is not better
    register_run(tracking, model, score(60.0))
    assert champion(tracking) == "1"
    assert not caplog.records
    register_run(tracking, model, score(1.0, replace(PROTOCOL, data="other")))
    assert champion(tracking) == "1"  # far less, but of other data
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "version 1 stays champion" in warning.getMessage()
    assert f"its protocol is {PROTOCOL.key}" in warning.getMessage()
    assert register_run(tracking, model, score(49.0)) == champion(tracking) == "5"


def test_a_registered_version_says_what_it_is_and_holds_no_pickle(
    tracking: TrackingConfig, model: Path, tmp_path: Path
):
    run_id = new_run(tracking)
    number = register_run(tracking, model, score(51.25), run_id)
    version = client(tracking).get_model_version("m", number)
    assert version.tags == {"protocol": PROTOCOL.key, "score": "51.25", "store.digest": "d"}
    assert version.run_id == run_id

    tree = Path(download_artifacts(f"models:/m/{number}", dst_path=str(tmp_path / "tree")))
    files = [path for path in tree.rglob("*") if path.is_file()]
    assert {"model.json", "pyfunc_model.py", "heads.py"} <= {path.name for path in files}
    assert [path.name for path in files if is_pickle(path)] == []
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".pyc"}]
    texts = [path.read_text() for path in files if path.suffix not in {".safetensors"}]
    assert not [text for text in texts if str(CHECKOUT) in text]


def is_pickle(path: Path) -> bool:
    """Whether some pickle protocol can be walked through to its end."""
    try:
        list(pickletools.genops(path.read_bytes()))
    except ValueError:
        return False
    return True


def test_what_is_a_pickle(tmp_path: Path):
    """The check above finds one."""
    torch.save({"a": 1}, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert is_pickle(tmp_path / "old")


def test_a_registered_model_is_pulled_by_alias_and_by_plain_mlflow(tracking: TrackingConfig, model: Path):
    register_run(tracking, model, score(50.0))
    network = load(model)
    x_BTJC = torch.rand(1, 5, 17, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(x_BTJC)
        pulled = load("models:/m@champion")(x_BTJC)
    assert torch.equal(pulled, expected)
    foreign = mlflow.pyfunc.load_model("models:/m@champion").predict(x_BTJC.numpy())
    np.testing.assert_allclose(foreign, expected.numpy(), atol=1e-6)


def test_a_run_registers_one_version_even_if_it_was_killed_in_between(tracking: TrackingConfig, model: Path):
    """A driver that died after MLflow had made the version, and before it was tagged."""
    run_id = new_run(tracking)
    assert register_run(tracking, model, score(50.0), run_id) == "1"
    client(tracking).delete_model_version_tag("m", "1", "score")
    client(tracking).delete_registered_model_alias("m", CHAMPION)
    assert register_run(tracking, model, score(50.0), run_id) == champion(tracking) == "1"
    assert client(tracking).get_model_version("m", "1").tags["score"] == "50.0"


def test_a_run_holds_recipe_environment_and_parent(tracking: TrackingConfig, tmp_path: Path):
    recipe = {"lr": 0.5, "encoder": {"depth": 2, "names": ("a", "b")}}
    with tracked.run(tracking, "child", params=recipe, tags={"store": "s"}, parent_id="p") as run_id:
        assert client(tracking).get_run(run_id).info.status == "RUNNING"
    run = client(tracking).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.5", "encoder.depth": "2", "encoder.names": "('a', 'b')"}
    stored = json.loads(Path(client(tracking).download_artifacts(run_id, "recipe.json", str(tmp_path))).read_text())
    assert stored == {"lr": 0.5, "encoder": {"depth": 2, "names": ["a", "b"]}}
    assert run.data.tags["mlflow.parentRunId"] == "p"
    assert run.data.tags["store"] == "s"
    assert run.data.tags["version.torch"] == torch.__version__
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if head.returncode == 0:  # a checkout without git says so
        assert run.data.tags["git.commit"].removesuffix("+changes") == head.stdout.strip()
    else:
        assert run.data.tags["git.commit"] == "unknown"


def test_a_run_takes_more_parameters_than_mlflow_takes_at_once(tracking: TrackingConfig):
    params = {f"p{number}": number for number in range(250)}
    with tracked.run(tracking, "wide", params=params, tags={}) as run_id:
        pass
    assert client(tracking).get_run(run_id).data.params == {key: str(value) for key, value in params.items()}


def test_a_run_that_raises_failed_and_can_be_reopened(tracking: TrackingConfig):
    def fail() -> None:
        with tracked.run(tracking, "r", params={"a": 1}, tags={}) as run_id:
            begun.append(run_id)
            raise RuntimeError("in the middle")

    begun: list[str] = []
    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    [run_id] = begun
    assert client(tracking).get_run(run_id).info.status == "FAILED"
    with tracked.run(tracking, "r", params={"a": 1}, tags={}, resume_id=run_id) as again:
        assert again == run_id
        assert client(tracking).get_run(run_id).info.status == "RUNNING"
    assert client(tracking).get_run(run_id).info.status == "FINISHED"


def test_metrics_arrive_in_their_order_however_many(tracking: TrackingConfig):
    run_id = new_run(tracking)
    log = MetricLog(tracking, run_id)
    for step in range(1500):
        log.add(step, {"a": float(step), "b": -1.0})
    log.flush()
    history = client(tracking).get_metric_history(run_id, "a")
    assert [(point.step, point.value) for point in history] == [(step, float(step)) for step in range(1500)]
    assert len(client(tracking).get_metric_history(run_id, "b")) == 1500


def test_metrics_wait_while_the_store_does_not_answer(
    tracking: TrackingConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    run_id = new_run(tracking)
    log = MetricLog(tracking, run_id)
    log.add(0, {"a": 1.0})
    with monkeypatch.context() as broken:

        def unreachable(*_: object, **__: object) -> None:
            raise MlflowException("no route")

        broken.setattr(mlflow.MlflowClient, "log_batch", unreachable)
        log.flush()
    assert "1 metrics are not sent yet" in caplog.text
    log.add(1, {"a": 2.0})
    log.flush()
    assert [point.value for point in client(tracking).get_metric_history(run_id, "a")] == [1.0, 2.0]


def test_an_alias_is_pinned_to_the_version_it_means_now(tracking: TrackingConfig, model: Path):
    register_run(tracking, model, score(50.0))
    assert pinned(tracking, "models:/m@champion") == "models:/m/1"
    assert pinned(tracking, "models:/m/1") == "models:/m/1"
    assert pinned(tracking, "runs:/r/m") == "runs:/r/m"
    assert pinned(tracking, "folder") == str(Path.cwd() / "folder")
    for missing in ("models:/m@nobody", "models:/nothing@champion"):
        with pytest.raises(ValueError, match=f"{missing}: not found in the registry sqlite"):
            pinned(tracking, missing)


def test_local_places_are_made_absolute_and_urls_are_left():
    assert TrackingConfig(uri="sqlite:///a/mlflow.db").absolute().uri == f"sqlite:///{Path.cwd()}/a/mlflow.db"
    assert TrackingConfig(uri="sqlite:////srv/mlflow.db").absolute().uri == "sqlite:////srv/mlflow.db"
    assert TrackingConfig(uri="http://host:5000").absolute().uri == "http://host:5000"
    assert tracked.absolute("s3://bucket/store") == "s3://bucket/store"


def test_nested_parameters_are_joined_by_dots():
    assert flatten({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}
