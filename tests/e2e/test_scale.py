"""Extraction as large jobs meet it: killed, on a cluster that loses a node, in a bucket, with ten times the input."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import fsspec
import psutil
import pytest
from moto.server import ThreadedMotoServer

from datasets.store.parquet import open_store
from tests.e2e.conftest import MARK, Run, end_all, marked

pytestmark = pytest.mark.slow

MANY = "procedural://?people=40&takes=4&seconds=2"
"""1,280 recordings: 5 shards."""
SHARDS = 5


@pytest.fixture(scope="module")
def undisturbed(job: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store that an extraction makes that is left alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    done = job("extract", "--input", MANY, "--store", folder)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("_shards/plan-*.json"))) == 1
    return contents(folder)


def contents(store: Path) -> dict[str, bytes]:
    """All files of a store; the command in its plan, whose hash is in the plan's name, says where it lies."""
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert not [name for name in files if Path(name).name.startswith(".")], "something was left half-written"
    return {
        re.sub(r"(plan-\d+)-\w+", r"\1", name): content.replace(str(store).encode(), b"STORE")
        for name, content in files.items()
    }


@pytest.fixture
def start(checkout: Path, environment: Mapping[str, str]) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start an extraction of ``MANY``; returns the process and the mark that all it starts carries."""
    marks = []

    def start(store: Path, *options: str, **env: str) -> tuple[subprocess.Popen[str], str]:
        marks.append(uuid4().hex)
        command = [sys.executable, "-m", "pipelines.extract", "--input", MANY, "--store", str(store), *options]
        process = subprocess.Popen(
            command,
            cwd=checkout,
            env={**environment, **env, MARK: marks[-1]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return process, marks[-1]

    yield start
    for mark in marks:
        end_all(mark, patience_s=0)


def reports(store: Path) -> int:
    return len([path for path in store.glob("_shards/*.json") if not path.name.startswith("plan")])


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_again_and_again_the_same_command_ends_with_the_same_bytes(
    start: Callable[..., tuple[subprocess.Popen[str], str]], job: Run, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for done_before in range(SHARDS - 1):
        process, mark = start(store)
        wait_for(lambda at_least=done_before: reports(store) >= at_least and store.exists(), process)
        for victim in marked(mark):
            victim.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (store / "manifest.json").exists()
    done = job("extract", "--input", MANY, "--store", store)
    assert done.returncode == 0, done.stderr
    assert contents(store) == undisturbed


@pytest.fixture
def cluster(environment: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """A head that runs nothing and two nodes; its address, and what kills one of the nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield str(cluster.address), lambda: cluster.remove_node(nodes[0], allow_graceful=False)
    cluster.shutdown()


def test_a_node_that_is_lost_costs_time_and_no_data(
    start: Callable[..., tuple[subprocess.Popen[str], str]],
    cluster: tuple[str, Callable[[], None]],
    undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:
    address, kill_a_node = cluster
    store = tmp_path / "store"
    process, _ = start(store, RAY_ADDRESS=address)
    wait_for(lambda: reports(store) >= 1, process)
    kill_a_node()
    assert reports(store) < SHARDS
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert contents(store) == undisturbed


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    filesystem = fsspec.filesystem("s3", key="nobody", secret="nothing", endpoint_url=endpoint)
    filesystem.mkdir("motion")
    access = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    yield "s3://motion", {"AWS_ENDPOINT_URL": endpoint, **access}
    server.stop()


def test_from_a_bucket_to_a_bucket(
    bucket: tuple[str, dict[str, str]], job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings that lie in a bucket become the store that the same recordings in a folder become."""
    url, access = bucket
    for name, value in access.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "alphapose"
    write_detections(folder, videos=3, people=2)
    filesystem, inner = fsspec.url_to_fs(url)
    filesystem.put(f"{folder}/", f"{inner}/alphapose/", recursive=True)

    for place, store in ((f"{url}/alphapose", f"{url}/store"), (str(folder), str(tmp_path / "store"))):
        done = job("extract", "--input", place, "--store", store, "--licence", "ours", env=access)
        assert done.returncode == 0, done.stderr
    in_bucket, local = open_store(f"{url}/store"), open_store(str(tmp_path / "store"))
    in_bucket.verify()
    assert in_bucket.manifest.digest == local.manifest.digest
    assert in_bucket.manifest.counts("train").sequences + in_bucket.manifest.counts("test").sequences == 6
    assert filesystem.exists(f"{inner}/store/report.html")


def write_detections(folder: Path, *, videos: int, people: int, frames: int = 60) -> None:
    """AlphaPose results of people who stand in a row and sway."""
    folder.mkdir()
    for video in range(videos):
        with (folder / f"video{video}.json").open("w") as file:
            file.write("[")
            for frame in range(frames):
                for person in range(people):
                    points = [
                        f"{300 * person + 10 * joint + frame % 7},{100 + (15 + person + video / 100) * joint},0.9"
                        for joint in range(17)
                    ]
                    comma = "," if (frame, person) != (0, 0) else ""
                    numbers = ",".join(points)
                    file.write(
                        f'{comma}{{"image_id":"{frame}.jpg","idx":{person},"keypoints":[{numbers}],"score":2.5}}'
                    )
            file.write("]")


@pytest.mark.parametrize("many", ["files", "people in a file"])
def test_ten_times_the_input_takes_the_same_memory(
    many: str, checkout: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Driver and largest worker, each within 1.2 times."""
    peaks = []
    for times in (1, 10):
        folder = tmp_path / f"times{times}"
        if many == "files":
            write_detections(folder, videos=300 * times, people=2, frames=10)
        else:
            write_stills(folder, people=10_000 * times)
        mark = uuid4().hex
        command = [sys.executable, "-m", "pipelines.extract", "--input", str(folder), "--store", f"{folder}-store"]
        process = subprocess.Popen(
            [*command, "--licence", "ours", "--max-quarantined", "1"],
            cwd=checkout,
            env={**environment, MARK: mark},
            text=True,
            start_new_session=True,
        )
        try:
            peaks.append(peak_memory(process, mark))
        finally:
            end_all(mark)
        assert process.returncode == 0
    for role in ("driver", "worker"):
        once, ten_times = (peak[role] / 2**20 for peak in peaks)
        assert ten_times < 1.2 * once, f"{role}: {once:.0f} MiB, with ten times the input {ten_times:.0f} MiB"


def write_stills(folder: Path, *, people: int) -> None:
    """COCO annotations: one file, of many people, no two alike."""
    folder.mkdir()
    names = (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    )  # fmt: skip
    keypoints = ",".join(f'"{name}"' for name in names)
    with (folder / "person_keypoints.json").open("w") as file:
        file.write(f'{{"categories":[{{"id":1,"name":"person","keypoints":[{keypoints}]}}],"images":[')
        file.write(",".join(f'{{"id":{image},"width":640,"height":480}}' for image in range(people)))
        file.write('],"annotations":[')
        for person in range(people):
            x, y = 10 + person % 1000 / 2, 10 + person // 1000
            points = ",".join(f"{x + 5 * joint},{y + 20 * joint},2" for joint in range(17))
            comma = "," if person else ""
            file.write(
                f'{comma}{{"id":{person},"image_id":{person},"category_id":1,"iscrowd":0,"num_keypoints":17,'
                f'"bbox":[90,40,200,400],"keypoints":[{points}]}}'
            )
        file.write("]}")


def peak_memory(process: subprocess.Popen[str], mark: str) -> dict[str, int]:
    """Peak of the driver and of the largest Ray worker, in bytes, until the process ends."""
    peaks = {"driver": 0, "worker": 0}
    while process.poll() is None:
        for each in marked(mark):
            try:
                role = "driver" if each.pid == process.pid else "worker" if each.name().startswith("ray::") else None
                if role is not None:
                    peaks[role] = max(peaks[role], each.memory_info().rss)
            except psutil.Error:  # gone meanwhile
                continue
        time.sleep(0.1)
    return peaks
