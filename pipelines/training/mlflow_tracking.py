"""Log runs to MLflow, and register models.

Metrics are buffered and sent in batches: a call per metric costs a round trip, and asynchronous logging can exhaust a
small server's connections. A model is logged as safetensors, JSON and the `motion_encoder` package (models from code),
without any pickle. The alias ``champion`` moves only to a version with a better score under the same protocol; scores
of different protocols are never compared.
"""

import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from motion_encoder import MotionModel
from motion_encoder.io.checkpoints import describe_folder
from motion_encoder.metrics import Score
from pipelines.runtime.cluster import CHECKOUT
from pipelines.runtime.paths import absolute

log = logging.getLogger(__name__)

CHAMPION = "champion"
SQLITE = "sqlite:///"
PARENT_TAG = "mlflow.parentRunId"
FLUSH_EVERY_S = 5.0
MAX_BATCH = 1000  # MLflow's limit of metrics per request
MAX_PARAMS = 100  # MLflow's limit of parameters per request


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are tracked and models are registered."""

    uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", f"{SQLITE}mlflow.db"))
    """URI of the MLflow tracking server, which also holds the model registry. By default the value of the environment
    variable MLFLOW_TRACKING_URI or, if it is not set, a SQLite file in the current folder."""
    experiment: str = "motion-encoder"
    """Name of the MLflow experiment; it is created if it does not exist."""

    def absolute(self) -> "TrackingConfig":
        """Return the same with the path of a SQLite file made absolute, for processes with other working folders."""
        if not self.uri.startswith(SQLITE):
            return self
        return replace(self, uri=SQLITE + absolute(self.uri.removeprefix(SQLITE)))


def pinned(tracking: TrackingConfig, model: str) -> str:
    """Return a URI that always means the same model: replace an alias by its present version, and make paths absolute.

    Raises:
        ValueError: the registry has no such name or alias.
    """
    if not model.startswith("models:/"):
        return model if model.startswith("runs:/") else absolute(model)
    name, at, alias = model.removeprefix("models:/").partition("@")
    if not at:
        return model
    try:
        return f"models:/{name}/{client(tracking).get_model_version_by_alias(name, alias).version}"
    except MlflowException as error:
        raise ValueError(f"{model}: not found in the registry {tracking.uri}: {error.message}") from error


def client(tracking: TrackingConfig) -> MlflowClient:
    """Return a client of the tracking store."""
    return MlflowClient(tracking.uri)


def use(tracking: TrackingConfig) -> None:
    """Make this process read ``models:/`` URIs from the tracking store's registry."""
    mlflow.set_tracking_uri(tracking.uri)


def experiment_id(tracking: TrackingConfig) -> str:
    """Return the experiment's id; it is created on first use, with its artifacts next to a local database."""
    mlflow_client = client(tracking)
    found = mlflow_client.get_experiment_by_name(tracking.experiment)
    if found is not None:
        return found.experiment_id
    location = None
    if tracking.uri.startswith(SQLITE):
        location = (Path(absolute(tracking.uri.removeprefix(SQLITE))).parent / "mlartifacts").as_uri()
    return mlflow_client.create_experiment(tracking.experiment, artifact_location=location)


@contextmanager
def run(
    tracking: TrackingConfig,
    name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    resume_id: str | None = None,
    parent_id: str | None = None,
) -> Iterator[str]:
    """Open a run (or reopen ``resume_id``), yield its id, and close it as FINISHED, or as FAILED after an exception.

    ``params`` is logged twice: as the file ``recipe.json``, and flattened as parameters of the run, for searching.
    """
    mlflow_client = client(tracking)
    if resume_id is None:
        all_tags = {**tags, **environment(), **({PARENT_TAG: parent_id} if parent_id else {})}
        run_id = mlflow_client.create_run(experiment_id(tracking), run_name=name, tags=all_tags).info.run_id
        all_params = [Param(key, str(value)) for key, value in flatten(params).items()]
        for first in range(0, len(all_params), MAX_PARAMS):
            mlflow_client.log_batch(run_id, params=all_params[first : first + MAX_PARAMS])
        mlflow_client.log_dict(run_id, dict(params), "recipe.json")
    else:
        run_id = resume_id
        mlflow_client.update_run(run_id, status="RUNNING")
    try:
        yield run_id
    except BaseException:
        mlflow_client.set_terminated(run_id, status="FAILED")
        raise
    mlflow_client.set_terminated(run_id, status="FINISHED")


def environment() -> dict[str, str]:
    """Return the commit, whether the checkout had changes, and the versions of Python and libraries."""
    packages = {f"version.{name}": version(name) for name in ("torch", "ray", "mlflow", "numpy")}
    return {"git.commit": git_commit(), "version.python": sys.version.split()[0], **packages}


def git_commit() -> str:
    """Return the commit of the checkout, with ``+changes`` if files differ from it, or ``unknown`` outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("MOTION_ENCODER_COMMIT", "unknown")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys by dots: ``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


class MetricLog:
    """Buffers a run's metrics and sends them in batches."""

    def __init__(self, tracking: TrackingConfig, run_id: str) -> None:
        self._client = client(tracking)
        self._run_id = run_id
        self._waiting: list[Metric] = []
        self._sent_at = time.monotonic()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step; they are sent with the next batch."""
        now_ms = int(time.time() * 1000)
        self._waiting += [Metric(key, value, now_ms, step) for key, value in values.items()]
        if time.monotonic() - self._sent_at > FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send the buffered metrics; if the server cannot be reached, log a warning and try again at the next flush."""
        while self._waiting:
            batch = self._waiting[:MAX_BATCH]
            try:
                self._client.log_batch(self._run_id, metrics=batch)
            except MlflowException as error:
                log.warning(
                    "%d metrics are not sent yet: the tracking server does not answer (%s)", len(self._waiting), error
                )
                break
            del self._waiting[: len(batch)]
        self._sent_at = time.monotonic()


def register(
    tracking: TrackingConfig,
    model_folder: Path,
    *,
    name: str,
    run_id: str,
    score: Score,
    tags: Mapping[str, str],
) -> str:
    """Log a model folder to a run, register it as ``name``, move ``champion`` if it is better; return its version.

    A run registers only one version: if a driver that was killed has already registered it, that version is used.
    """
    use(tracking)
    mlflow_client = client(tracking)
    number = _version_of_run(mlflow_client, name, run_id) or _log_model(model_folder, name, run_id)
    for key, value in {**tags, "protocol": score.protocol.key, "score": repr(score.value)}.items():
        mlflow_client.set_model_version_tag(name, number, key, value)
    _promote(mlflow_client, name, number, score)
    return number


def _version_of_run(mlflow_client: MlflowClient, name: str, run_id: str) -> str | None:
    found = mlflow_client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return str(found[0].version) if found else None


def _log_model(model_folder: Path, name: str, run_id: str) -> str:
    description = describe_folder(model_folder)
    with mlflow.start_run(run_id=run_id), _code_of(description.module) as code, warnings.catch_warnings():
        # No input example, because MLflow would run the model on it; the signature describes the input.
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        info = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(code[0] / "io" / "pyfunc_model.py"),
            artifacts={"model": str(model_folder)},
            code_paths=[str(each) for each in code],
            signature=_signature(description.build()),
            pip_requirements=_requirements(),
            registered_model_name=name,
        )
    return str(info.registered_model_version)


@contextmanager
def _code_of(module: str | None) -> Iterator[list[Path]]:
    """Copy the library, and the package of an outside task, to a temporary folder, since MLflow records the path."""
    with tempfile.TemporaryDirectory(prefix="motion_encoder_") as folder:
        sources = [CHECKOUT / "motion_encoder", *([top_level_path(module)] if module else [])]
        copies = [Path(folder) / source.name for source in sources]
        for source, copy in zip(sources, copies, strict=True):
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        yield copies


def top_level_path(module: str) -> Path:
    """Return the folder or file of the top-level package that a module belongs to."""
    top = importlib.import_module(module.partition(".")[0])
    if top.__file__ is None:
        raise ValueError(f"{module}: expected a module, or a package with an __init__.py, to log with the model")
    file = Path(top.__file__)
    return file.parent if file.name == "__init__.py" else file


def _requirements() -> list[str]:
    """Return the packages that a registered model needs, in the present versions, without build tags like ``+cpu``."""
    return [f"{package}=={version(package).split('+')[0]}" for package in ("mlflow", "numpy", "safetensors", "torch")]


def _signature(model: MotionModel) -> ModelSignature:
    single = np.dtype("float32")
    return ModelSignature(
        inputs=Schema([TensorSpec(single, (-1, -1, 17, 3))]),
        outputs=Schema([TensorSpec(single, model.prediction_shape)]),
    )


def _promote(mlflow_client: MlflowClient, name: str, number: str, score: Score) -> None:
    """Move the champion alias to ``number`` if there is none, or if its score is better under the same protocol."""
    champion = mlflow_client.get_registered_model(name).aliases.get(CHAMPION)
    if champion is not None:
        tags = mlflow_client.get_model_version(name, str(champion)).tags
        if tags.get("protocol") != score.protocol.key:
            log.warning(
                "%s: version %s stays champion: its protocol is %s, that of version %s is %s, and different protocols "
                "are not compared. To make the new version champion, move the alias yourself.",
                name, champion, tags.get("protocol"), number, score.protocol.key,
            )  # fmt: skip
            return
        if not score.better_than(replace(score, value=float(tags["score"]))):
            log.info(
                "%s: version %s stays champion (score %s, new version: %.6g)",
                name,
                champion,
                tags["score"],
                score.value,
            )
            return
    mlflow_client.set_registered_model_alias(name, CHAMPION, number)
    log.info("%s: version %s is champion (%s = %.6g)", name, number, score.protocol.key, score.value)
