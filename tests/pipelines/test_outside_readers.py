"""Readers from outside the checkout, in real extractions: named by the user, or offered by an installed package."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.store.parquet import frame_values, open_store
from pipelines.runtime import cluster
from tests.outside_reader import write_distribution, write_module, write_recordings

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRACT = """
import sys
sys.path.append(sys.argv.pop(1))
from pipelines.extract import configure, run
from pipelines.runtime.cli import run_job
run_job(run, configure)
"""
"""The job, in a process that has one more folder on its path; Ray's workers do not inherit that."""


def extract(modules: Path, *options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", EXTRACT, str(modules), *map(str, options)],
        cwd=CHECKOUT,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def check_store(folder: Path, positions: np.ndarray) -> None:
    store = open_store(str(folder))
    store.verify()
    entry = store.manifest.sources["lab"]
    assert (entry.kind, entry.licence, entry.recordings, entry.quarantined) == ("mocap", "ours", 1, 0)
    [(source, rows)] = store.segments("train")
    assert (source, rows["sequence_id"].to_pylist()) == ("lab", ["a.lab"])
    np.testing.assert_allclose(frame_values(rows["keypoints_3d"], 17, 3), positions, atol=1e-6)


def test_a_module_that_the_user_names(tmp_path: Path):
    write_module(tmp_path)
    positions = write_recordings(tmp_path / "recordings")
    places = ("--input", tmp_path / "recordings", "--store", tmp_path / "store")
    extract(tmp_path, *places, "--reader", "lab_motion.reader")
    check_store(tmp_path / "store", positions)


def test_a_package_that_is_installed(tmp_path: Path):
    site = tmp_path / "site"
    site.mkdir()
    write_module(site)
    write_distribution(site)
    positions = write_recordings(tmp_path / "recordings")
    places = ("--input", tmp_path / "recordings", "--store", tmp_path / "store")
    extract(tmp_path / "nothing", *places, PYTHONPATH=str(site))
    check_store(tmp_path / "store", positions)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What ``connect`` gives to ``ray.init``, which is not called."""
    calls: list[dict] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda **options: calls.append(options))
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "PYTHONPATH", *cluster._QUIET):
        monkeypatch.delenv(name, raising=False)
    return calls


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"])
def test_packages_are_shipped_to_a_cluster(tmp_path, monkeypatch, joined, name):
    write_module(tmp_path)
    (tmp_path / "single.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(name, "somewhere:6379")
    cluster.connect(outside=("lab_motion.reader", "single", "datasets.readers.mocap.bvh", "numpy"))
    assert joined[0]["runtime_env"]["py_modules"] == [str(tmp_path / "lab_motion"), str(tmp_path / "single.py")]


def test_workers_on_this_machine_get_the_folders_after_the_checkout(tmp_path, monkeypatch, joined):
    write_module(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cluster.connect(outside=("lab_motion.reader",))
    path = joined[0]["runtime_env"]["env_vars"]["PYTHONPATH"]
    assert path == f"{CHECKOUT}{os.pathsep}{tmp_path}"


def test_a_module_that_does_not_exist_is_refused_before_ray_starts(joined):
    with pytest.raises(ValueError, match="nowhere: expected a module that can be imported, found none"):
        cluster.connect(outside=("nowhere.reader",))
    assert not joined
