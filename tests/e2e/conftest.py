"""The jobs as a user runs them: processes of their own, from a copy of the checkout, each with a limit on its time.

A copy, so that a test may add a job to it, and can see whether a job leaves something behind in it. Whatever a command
starts carries a mark in its environment: no process may outlive its command.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MARK = "MOTION_ENCODER_E2E"
LIMIT_S = 600
FOLDERS = ("motion_encoder", "datasets", "pipelines")
FILES = ("pyproject.toml", "constraints.txt", "LICENSE", "README.md", ".gitignore")
PEOPLE = "procedural://?people=4&detections=1&takes=1&seconds=2"
"""Four people, the last one held out, and one whom only a detector saw."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds, as far as jobs and wheel need it."""
    copy = tmp_path_factory.mktemp("e2e") / "checkout"
    for folder in FOLDERS:
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        if (CHECKOUT / file).is_file():
            shutil.copy(CHECKOUT / file, copy)
    return copy


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Ray's own files. Directly below /tmp: the sockets in it may have names of at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> dict[str, str]:
    """A user's shell with the virtual environment switched on, and a home of its own."""
    ours = ("RAY_", "MLFLOW_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
        "RAY_TMPDIR": str(ray_folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.fixture(scope="session")
def run(checkout: Path, environment: Mapping[str, str]) -> Run:
    """Run a command in the checkout (or ``cwd``), with more variables (``env``), and see that it leaves no process."""

    def run(
        *command: str | Path,
        cwd: Path = checkout,
        env: Mapping[str, str] | None = None,
        limit_s: float = LIMIT_S,
        first: Callable[[], object] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        mark = uuid4().hex
        try:
            done = subprocess.run(
                [str(word) for word in command],
                cwd=cwd,
                env={**environment, **(env or {}), MARK: mark},
                timeout=limit_s,
                start_new_session=True,
                preexec_fn=first,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            left = end_all(mark)
        assert not left, f"{command} left processes behind: {left}"
        return done

    return run


@pytest.fixture(scope="session")
def job(run: Run) -> Run:
    """Run a job by its name: ``job("extract", "--input", ...)`` is ``python -m pipelines.extract --input ...``."""

    def job(name: str, *options: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
        return run("python", "-m", f"pipelines.{name}", *options, **how)

    return job


@pytest.fixture(scope="session")
def store(job: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the extract job made; not to be changed."""
    folder = tmp_path_factory.mktemp("data") / "store"
    done = job("extract", "--input", PEOPLE, "--store", folder)
    assert done.returncode == 0, done.stderr
    return folder


def end_all(mark: str, patience_s: float = 20) -> list[str]:
    """Wait for the processes that carry a mark, end those that stay, and say which they were."""
    _, alive = psutil.wait_procs(marked(mark), timeout=patience_s)
    names = [f"{process.pid} {process.name()}" for process in alive if process.is_running()]
    for process in marked(mark):
        process.send_signal(signal.SIGKILL)
    return names


def marked(mark: str) -> list[psutil.Process]:
    """Return the running processes that carry a mark; others' processes do not show theirs."""
    processes = psutil.process_iter(["environ"])
    return [process for process in processes if (process.info["environ"] or {}).get(MARK) == mark]
