"""`import datasets` finds ours in every process of a job, however it is run, beside Hugging Face's of that name."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from uuid import uuid4

import numpy as np
import pytest

from tests.e2e.conftest import MARK, PEOPLE, end_all
from tests.outside_reader import write_module, write_recordings

PROBE = '''
"""Says where `datasets` comes from: in the driver, a task, a map of Ray Data, and a worker of Ray Train."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # as in every job
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json

import ray.data
import ray.train as rt
from ray.train.torch import TorchTrainer

import datasets
from pipelines.runtime.cluster import connect


def origin() -> str:
    import datasets

    return datasets.__file__


def in_training(config: dict) -> None:
    Path(config["answer"]).write_text(origin())


def probe(out: Path) -> None:
    connect()
    TorchTrainer(
        in_training,
        train_loop_config={"answer": f"{out}/training"},
        scaling_config=rt.ScalingConfig(num_workers=1),
        run_config=rt.RunConfig(storage_path=f"{out}/runs"),
    ).fit()
    [row] = ray.data.range(1).map(lambda row: {"origin": origin()}).take_all()
    origins = {
        "driver": datasets.__file__,
        "task": ray.get(ray.remote(origin).remote()),
        "map": row["origin"],
        "training": (out / "training").read_text(),
    }
    (out / "origins.json").write_text(json.dumps(origins))


if __name__ == "__main__":
    probe(Path(sys.argv[1]))
'''


@pytest.fixture(scope="module")
def checkout_with_probe(checkout: Path) -> Iterator[Path]:
    probe, ignored = checkout / "pipelines" / "probe.py", checkout / "runs"
    probe.write_text(PROBE)
    ignored.mkdir()
    (ignored / "large").write_text("what git ignores")
    yield checkout
    probe.unlink()
    shutil.rmtree(ignored)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster of two CPUs that is none of the jobs' making."""

    head: str
    """What `ray job submit --address` wants."""
    address: str
    """What RAY_ADDRESS wants."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(run: Any, environment: Mapping[str, str], ray_folder: Path) -> Iterator[Cluster]:
    """Start what `ray start --head` starts, with token authentication as Ray has it by default."""
    done = run("ray", "get-auth-token", "--generate")
    assert done.returncode == 0, done.stderr
    mark, port, head_port = uuid4().hex, free_port(), free_port()
    ports = {"port": port, "dashboard-port": head_port, "min-worker-port": 0, "max-worker-port": 0}
    ports |= {"dashboard-agent-listen-port": free_port(), "ray-client-server-port": free_port()}
    options = [f"--{name}={value}" for name, value in ports.items()]
    with (ray_folder / "cluster.log").open("w+") as log:
        head = subprocess.Popen(
            ["ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={ray_folder}/cluster", *options],
            env={**environment, MARK: mark, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_up(f"http://127.0.0.1:{head_port}", head, ray_folder / "cluster.log")
            yield Cluster(head=f"http://127.0.0.1:{head_port}", address=f"127.0.0.1:{port}")
        finally:
            head.terminate()
            head.wait(timeout=60)
            assert not end_all(mark)


def wait_until_up(url: str, head: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(120):
        try:
            urlopen(f"{url}/api/version", timeout=5)
        except HTTPError:  # up, and asks for a token
            return
        except URLError:
            try:
                head.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"the cluster did not start: {log.read_text()}")
    pytest.fail(f"the cluster does not answer: {log.read_text()}")


ALONE = ("file", "file from elsewhere")
ON_CLUSTER = ("module on a cluster", "submitted")


def launch(
    run: Any, way: str, name: str, *options: str | Path, checkout: Path, elsewhere: Path, cluster: Cluster, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a job in one of the ways that a user has; ``env`` are variables for the job."""
    file, with_token = f"pipelines/{name}.py", {"RAY_AUTH_MODE": "token"}
    if way == "file":
        return run("python", file, *options, env=env)
    if way == "file from elsewhere":
        return run("python", checkout / file, *options, env=env, cwd=elsewhere)
    if way == "module on a cluster":
        env |= with_token | {"RAY_ADDRESS": cluster.address}
        return run("python", "-m", f"pipelines.{name}", *options, env=env)
    submit = ("ray", "job", "submit", "--address", cluster.head, "--working-dir", ".")
    variables = ("--runtime-env-json", json.dumps({"env_vars": env}))  # the job does not see the submitting shell's
    return run(*submit, *variables, "--", "python", file, *options, env=with_token)


def origins(done: subprocess.CompletedProcess[str], out: Path) -> dict[str, Path]:
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((out / "origins.json").read_text())
    return {process: Path(file).resolve() for process, file in found.items()}


def test_the_other_library_is_installed():
    assert version("datasets")


def test_ours_wins_on_this_machine(run, checkout_with_probe, tmp_path):
    done = run("python", "-m", "pipelines.probe", tmp_path)
    ours = (checkout_with_probe / "datasets" / "__init__.py").resolve()
    assert set(origins(done, tmp_path).values()) == {ours}


@pytest.fixture
def launched(run, checkout, cluster, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a job in a way; "elsewhere" is an empty folder that has to stay so."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def launched(way: str, name: str, *options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        done = launch(run, way, name, *options, checkout=checkout, elsewhere=elsewhere, cluster=cluster, **env)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "Traceback" not in said, said  # also where a job's own cluster is the second one on the machine
        assert list(elsewhere.iterdir()) == []
        return done

    return launched


@pytest.mark.slow
@pytest.mark.parametrize("way", ON_CLUSTER)
def test_ours_wins_on_a_cluster_that_gets_the_checkout_and_nothing_more(
    launched, checkout_with_probe, ray_folder, tmp_path, way
):
    found = origins(launched(way, "probe", tmp_path), tmp_path)
    if way == "module on a cluster":
        assert found.pop("driver") == (checkout_with_probe / "datasets" / "__init__.py").resolve()
    [upload] = {file.parents[1] for file in found.values()}
    assert upload.is_relative_to(ray_folder / "cluster")
    assert (upload / "pipelines" / "probe.py").is_file()
    assert not (upload / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", [*ALONE, *ON_CLUSTER])
def test_jobs_run_in_every_way(launched, tmp_path, way):
    """`python -m` alone is how the other tests run them."""
    store, cache, registry = tmp_path / "store", tmp_path / "cache", f"sqlite:///{tmp_path}/mlflow.db"
    done = launched(way, "extract", "--input", PEOPLE, "--store", store)
    assert "procedural_detections" in done.stdout + done.stderr
    places = ("--store", store, "--cache", cache, "--tracking.uri", registry)
    launched(
        *(way, "pretrain", "laptop", *places, "--storage", tmp_path / "runs"),
        *("--recipe.optimisation.steps", "2", "--recipe.optimisation.warmup-steps", "0"),
        *("--recipe.optimisation.global-batch", "4", "--recipe.clip-frames", "9"),
    )
    champion = ("--model", "models:/motion-encoder@champion")
    done = launched(way, "evaluate", *champion, *places)
    assert "mpjpe_mm/" in done.stdout + done.stderr
    np.savez(tmp_path / "person.npz", keypoints_2d=np.zeros((30, 17, 2)), confidence=np.ones((30, 17)))
    out = ("--keypoints", tmp_path / "person.npz", "--out", tmp_path / "lifted")
    launched(way, "lift", *champion, *out, MLFLOW_TRACKING_URI=registry)
    assert (tmp_path / "lifted" / "view.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("way", ON_CLUSTER)
def test_a_reader_from_outside_the_checkout_is_shipped_to_a_cluster(launched, tmp_path, way):
    write_module(tmp_path)
    write_recordings(tmp_path / "recordings")
    options = ("--input", tmp_path / "recordings", "--reader", "lab_motion.reader", "--store", tmp_path / "store")
    launched(way, "extract", *options, PYTHONPATH=str(tmp_path))


@pytest.mark.slow
def test_the_quickstart_can_be_submitted(launched, tmp_path):
    """Finetuning with it: drivers of Ray Train inside tasks of a submitted job."""
    steps = ("--pretrain-steps", "21", "--finetune-steps", "2")
    done = launched("submitted", "quickstart", "--data", PEOPLE, "--out", tmp_path / "made", *steps)
    assert "Done in" in done.stdout + done.stderr
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"store", "runs", "lifted", "mlflow.db", "mlartifacts"} <= made
