"""A registered model on a machine that has MLflow, torch, numpy and safetensors, and nothing of this project's jobs.

Two ways in: the wheel's `motion_encoder.load`, and plain MLflow with the package that travels with the model.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_encoder import DSTformer, DSTformerConfig, ModelCard, load_folder, save
from motion_encoder.metrics import Protocol, Score
from pipelines.training import mlflow_tracking
from pipelines.training.mlflow_tracking import TrackingConfig
from tests.e2e.conftest import CHECKOUT

NEEDED = ("torch", "mlflow", "numpy", "safetensors")
URI = "models:/somebody@champion"

WITH_MLFLOW = f"""
import sys, mlflow, numpy
model = mlflow.pyfunc.load_model({URI!r})
numpy.save(sys.argv[2], model.predict(numpy.load(sys.argv[1])))
"""
WITH_THE_WHEEL = f"""
import sys
import motion_encoder
assert all(hasattr(motion_encoder, name) for name in motion_encoder.__all__)
assert not {{"ray", "mlflow", "pyarrow"}} & sys.modules.keys(), "importing the library loads too much"
import numpy, torch
assert "site-packages" in motion_encoder.__file__, motion_encoder.__file__
model = motion_encoder.load({URI!r})
with torch.inference_mode():
    numpy.save(sys.argv[2], model(torch.from_numpy(numpy.load(sys.argv[1]))).numpy())
"""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What the registered model should answer to ``x_BTJC``, as files, and the registry's address."""

    x_BTJC: Path
    expected: np.ndarray
    registry: str


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    """A random tiny pose model, champion of a registry of its own."""
    folder = tmp_path_factory.mktemp("registry")
    config = DSTformerConfig(dim_feat=16, depth=1, num_heads=2, dim_rep=16, max_frames=27)
    save(folder / "model", DSTformer(config, torch.Generator().manual_seed(0)), task="pose3d", card=ModelCard())
    where = TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db")
    protocol = Protocol(
        metric="mpjpe_mm", alignment="root", scale="true", input="projected-2d", clip_frames=9, split="test", data="a"
    )
    with mlflow_tracking.run(where, "by hand", params={}, tags={}) as run_id:
        score = Score(protocol=protocol, value=1.0, higher_is_better=False)
        mlflow_tracking.register(where, folder / "model", name="somebody", run_id=run_id, score=score, tags={})

    x_BTJC = np.random.default_rng(0).uniform(-1, 1, (2, 9, 17, 3)).astype(np.float32)
    np.save(folder / "x.npy", x_BTJC)
    model = load_folder(folder / "model")
    assert isinstance(model, DSTformer)
    with torch.inference_mode():
        expected = model(torch.from_numpy(x_BTJC)).numpy()
    return Pulled(x_BTJC=folder / "x.npy", expected=expected, registry=where.uri)


@pytest.fixture(scope="module")
def pip_settings() -> dict[str, str]:
    """The indexes and the cache of the user who runs the tests."""
    return {"HOME": os.environ["HOME"], "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}


@pytest.fixture(scope="module")
def wheel(run, checkout: Path, pip_settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = run("python", "-m", "pip", "wheel", checkout, "--no-deps", "--wheel-dir", out, env=pip_settings)
    assert done.returncode == 0, done.stderr
    [path] = out.iterdir()
    return path


@pytest.fixture(scope="module")
def clean_python(run, pip_settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of a new environment: torch first and exactly as pinned, then the rest of what a pull needs."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    constraints = CHECKOUT / "constraints.txt"
    [torch_pin] = re.findall(r"^torch==\S+$", constraints.read_text(), re.MULTILINE)
    python = folder / "bin" / "python"
    for command in (
        ("python", "-m", "venv", folder),
        (python, "-m", "pip", "install", "--constraint", constraints, torch_pin),
        (python, "-m", "pip", "install", "--constraint", constraints, *NEEDED),
    ):
        done = run(*command, env=pip_settings, limit_s=1200)
        assert done.returncode == 0, done.stderr
    yield python
    shutil.rmtree(folder)  # a gigabyte


def answer(run, python: Path, code: str, registered: Pulled, tmp_path: Path) -> np.ndarray:
    done = run(
        *(python, "-c", code, registered.x_BTJC, tmp_path / "y.npy"),
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": registered.registry},
    )
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "y.npy")


@pytest.mark.slow
def test_the_wheel_ships_the_library_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    assert {"motion_encoder/__init__.py", "motion_encoder/py.typed", "motion_encoder/viewer.html"} <= set(names)
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"motion_encoder", next(name for name in folders if name.endswith(".dist-info"))}


@pytest.mark.slow
def test_plain_mlflow_runs_the_model_with_the_package_that_came_with_it(run, clean_python, registered, tmp_path):
    absent = run(clean_python, "-c", "import motion_encoder", cwd=tmp_path)
    assert "ModuleNotFoundError" in absent.stderr
    found = answer(run, clean_python, WITH_MLFLOW, registered, tmp_path)
    np.testing.assert_allclose(found, registered.expected, atol=1e-6)


@pytest.mark.slow
def test_the_wheel_pulls_the_model_by_alias(run, clean_python, wheel, pip_settings, registered, tmp_path):
    target = tmp_path / "site-packages"  # beside the clean environment, not in it: the other test needs it without
    done = run(clean_python, "-m", "pip", "install", "--no-deps", "--target", target, wheel, env=pip_settings)
    assert done.returncode == 0, done.stderr
    code = f"import sys; sys.path.append({str(target)!r})\n{WITH_THE_WHEEL}"
    found = answer(run, clean_python, code, registered, tmp_path)
    np.testing.assert_allclose(found, registered.expected, atol=1e-6)
