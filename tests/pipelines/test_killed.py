"""A run whose processes are all killed in the middle ends, started again, as one that was left alone."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from mlflow.entities import Run

from datasets.store.parquet import Store
from motion_encoder import load
from pipelines.training.mlflow_tracking import TrackingConfig, client, use

CHECKOUT = Path(__file__).resolve().parents[2]
STEPS, CHECKPOINT_EVERY = 150, 10
SMALL = {
    "encoder.dim-feat": 16,
    "encoder.depth": 1,
    "encoder.num-heads": 2,
    "encoder.dim-rep": 16,
    "clip-frames": 9,
    "optimisation.steps": STEPS,
    "optimisation.global-batch": 8,
}

pytestmark = pytest.mark.slow


@pytest.fixture
def start(
    tmp_path: Path, store: Store, cache_folder: Path, tracking: TrackingConfig
) -> Callable[[str, str], subprocess.Popen[str]]:
    """Start the job under a name, in a process group of its own; ``mark`` finds its processes wherever they went."""

    def start(name: str, mark: str) -> subprocess.Popen[str]:
        options = {
            "store": store.url,
            "name": name,
            "storage": tmp_path / "runs",
            "cache": cache_folder,
            "register-as": name,
            "checkpoint-every": CHECKPOINT_EVERY,
            "tracking.uri": tracking.uri,
            "tracking.experiment": tracking.experiment,
            **{f"recipe.{option}": value for option, value in SMALL.items()},
        }
        command = [sys.executable, "-m", "pipelines.pretrain", "laptop"]
        command += [word for option, value in options.items() for word in (f"--{option}", str(value))]
        environment = {**os.environ, "MOTION_ENCODER_TEST": mark}
        for inherited in ("RAY_ADDRESS", "PYTHONPATH"):
            environment.pop(inherited, None)
        log = (tmp_path / f"{name}-{mark}.log").open("w")
        with log:
            return subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
            )

    return start


def marked(mark: str) -> list[psutil.Process]:
    """Processes that have the mark in their environment: the driver and all that it started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MOTION_ENCODER_TEST") == mark:
                found.append(process)
        except psutil.Error:  # gone, or not ours
            continue
    return found


def wait_until(happened: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def test_a_killed_run_goes_on_bit_by_bit(
    start: Callable[[str, str], subprocess.Popen[str]], tracking: TrackingConfig, tmp_path: Path
):
    left_alone = start("alone", uuid.uuid4().hex)
    assert left_alone.wait(300) == 0

    mark = uuid.uuid4().hex
    driver = start("killed", mark)
    snapshot = tmp_path / "runs" / "killed" / "checkpoint_manager_snapshot.json"
    wait_until(snapshot.exists, "the first checkpoint")
    assert any("ray::" in process.name() for process in marked(mark))
    os.killpg(driver.pid, signal.SIGKILL)
    assert driver.wait(10) == -signal.SIGKILL
    wait_until(lambda: not marked(mark), "Ray's processes to follow their driver", 60)
    [run] = search(tracking, "killed")
    assert max(curve(tracking, run.info.run_id)) < STEPS

    assert start("killed", uuid.uuid4().hex).wait(300) == 0
    use(tracking)
    expected, found = (load(f"models:/{name}/1").state_dict() for name in ("alone", "killed"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    [again] = search(tracking, "killed")
    [alone] = search(tracking, "alone")
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    whole = curve(tracking, again.info.run_id)
    assert whole == curve(tracking, alone.info.run_id)
    assert sorted(whole) == list(range(CHECKPOINT_EVERY, STEPS + 1, CHECKPOINT_EVERY))


def search(tracking: TrackingConfig, name: str) -> list[Run]:
    experiment = client(tracking).get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    return list(client(tracking).search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'"))


def curve(tracking: TrackingConfig, run_id: str) -> dict[int, float]:
    """Loss by step; a step that was done twice gave the same twice."""
    values: dict[int, float] = {}
    for point in client(tracking).get_metric_history(run_id, "loss"):
        assert values.setdefault(point.step, point.value) == point.value
    return values
