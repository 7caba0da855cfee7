"""A training run from the driver's side: started or resumed, fitted on Ray Train, tracked, registered.

A run is a folder `STORAGE/NAME`: `run.json` (recipe, store digest, MLflow run) beside Ray Train's checkpoints. The same
name with the same recipe and store resumes where it stopped; with anything else it is an error, never a mixture.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray.train as rt
from ray.train.torch import TorchTrainer

from datasets.files import url_to_fs
from datasets.store.parquet import NO_ROOM, Store, open_store, write_whole
from motion_encoder import ModelCard, load
from motion_encoder.io.checkpoints import load_folder
from motion_encoder.metrics import Protocol, Score
from pipelines.runtime.paths import absolute
from pipelines.training import mlflow_tracking
from pipelines.training.checkpoint import MODEL
from pipelines.training.compute import ComputeConfig
from pipelines.training.loop import LoopConfig, train
from pipelines.training.mlflow_tracking import TrackingConfig, flatten
from pipelines.training.recipes import Recipe, as_tree

log = logging.getLogger(__name__)

RECORD = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that turns a recipe into a run."""

    name: str
    """Names the run; the same name resumes it."""
    recipe: Recipe
    store: str
    storage: str
    register_as: str
    """Name in the model registry."""
    tracking: TrackingConfig
    compute: ComputeConfig
    checkpoint_every: int
    cache_folder: str
    init: str | None = None
    """URI or folder of the model whose encoder the task starts from; none: from scratch."""
    parent_run: str | None = None
    """MLflow run that this one is a child of."""
    on_terminal: bool = field(default_factory=sys.stderr.isatty)
    """Whether somebody watches where the job was started; not where it runs."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"name: expected a name without '/', found {self.name!r}")
        if self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every: expected at least 1, found {self.checkpoint_every}")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run left behind; also what `run.json` says of it."""

    run_id: str
    model: str
    """URI of the registered version: ``models:/NAME/VERSION``."""
    scores: tuple[Score, ...]
    """Held-out scores after the last step; the first one decides about the champion."""


def execute(config: RunConfig) -> Finished:
    """Run, or resume, to the end: train, register, and move the champion if the model is better.

    Raises:
        ValueError: the store cannot be used, the cluster is too small, the name belongs to another run, or workers
            refused what they were given (a source without labels, a loss that is no longer finite).
        ray.train.TrainingFailedError: workers failed more often than ``compute.max_failures``.
    """
    config.compute.check()
    config = _at_home_anywhere(config)
    store = open_store(config.store)
    identity = {"recipe": as_tree(config.recipe), "store_digest": store.manifest.digest, "init": config.init}
    record = read_record(config.storage, config.name, identity)
    if "finished" in record:
        log.info("%s: already finished; choose another name to train again", config.name)
        return _finished(record)
    tags = {"store": config.store, "store.digest": store.manifest.digest, "init": config.init or "scratch"}
    with mlflow_tracking.run(
        config.tracking,
        config.name,
        params=identity["recipe"],
        tags=tags,
        resume_id=record.get("run_id"),
        parent_id=config.parent_run,
    ) as run_id:
        record = identity | {"run_id": run_id}
        write_record(config.storage, config.name, record)
        with _fitted_model(config, store, run_id) as folder:
            scores = load_folder(folder).card.scores
            version = mlflow_tracking.register(
                config.tracking, folder, name=config.register_as, run_id=run_id, score=scores[0], tags=tags
            )
    finished = Finished(run_id=run_id, model=f"models:/{config.register_as}/{version}", scores=scores)
    write_record(config.storage, config.name, record | {"finished": asdict(finished)})
    return finished


@contextmanager
def _fitted_model(config: RunConfig, store: Store, run_id: str) -> Iterator[Path]:
    """Train to the last step and lend the model folder of the last checkpoint."""
    loop = LoopConfig(
        recipe=config.recipe,
        init=config.init,
        store=config.store,
        cache_folder=config.cache_folder,
        tracking=config.tracking,
        run_id=run_id,
        title=config.name,
        card=_card(config, store),
        checkpoint_every=config.checkpoint_every,
        compute=config.compute,
        on_terminal=config.on_terminal,
    )
    trainer = TorchTrainer(
        train,
        train_loop_config={"config": loop},
        scaling_config=config.compute.scaling(),
        run_config=rt.RunConfig(
            name=config.name,
            storage_path=config.storage,
            failure_config=rt.FailureConfig(max_failures=config.compute.max_failures),
            checkpoint_config=rt.CheckpointConfig(num_to_keep=2),
            logging_config=rt.LoggingConfig(log_level="WARNING"),
        ),
    )
    checkpoint = _fit(trainer, config.storage).checkpoint
    assert checkpoint is not None, "the loop reports a checkpoint after its last step"
    with checkpoint.as_directory() as folder:
        yield Path(folder) / MODEL


def _fit(trainer: TorchTrainer, storage: str) -> rt.Result:
    try:
        return trainer.fit()
    except rt.WorkerGroupError as error:
        causes = [getattr(failure, "_base_exc", failure) for failure in error.worker_failures.values()]
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                raise ValueError(
                    f"{storage}: no room for a checkpoint: {cause.strerror}. Free some and run the same command again: "
                    "it goes on from the last whole one."
                ) from error
            if isinstance(cause, ValueError | FloatingPointError):  # a user's mistake, found by a worker
                raise ValueError(str(cause)) from error
        raise


def read_record(storage: str, name: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a run of this name; empty where it is new, or other but without a checkpoint to mix up.

    Raises:
        ValueError: it differs from ``identity``; the message says where.
    """
    filesystem, path = url_to_fs(f"{storage}/{name}/{RECORD}")
    if not filesystem.exists(path):
        return {}
    record = json.loads(filesystem.cat_file(path))
    former = {key: record.get(key) for key in identity}
    now, then = (flatten(json.loads(json.dumps(tree))) for tree in (identity, former))
    differing = sorted(key for key in now | then if now.get(key) != then.get(key))
    changed = [f"{key}: {then.get(key)!r} then, {now.get(key)!r} now" for key in differing]
    if changed and not filesystem.glob(f"{path.removesuffix(RECORD)}checkpoint_*"):
        return {}
    if changed:
        raise ValueError(
            f"run {name!r} in {storage} was started with other settings ({'; '.join(changed)}). "
            "Resume it with those, or choose another --name."
        )
    return record


def write_record(storage: str, name: str, record: Mapping[str, Any]) -> None:
    """Write a run's record, whole or not at all."""
    write_whole(f"{storage}/{name}/{RECORD}", json.dumps(record, indent=2).encode())


def _finished(record: Mapping[str, Any]) -> Finished:
    raw = record["finished"]
    return Finished(run_id=raw["run_id"], model=raw["model"], scores=tuple(map(_score, raw["scores"])))


def _score(raw: Mapping[str, Any]) -> Score:
    return Score(**{**raw, "protocol": Protocol(**raw["protocol"])})


def _card(config: RunConfig, store: Store) -> ModelCard:
    """What a model says of its origin; the licences of a model it started from are its own too."""
    mlflow_tracking.client(config.tracking)
    inherited = load(config.init).card.licences if config.init else {}
    facts = {
        "recipe": as_tree(config.recipe),
        "store_digest": store.manifest.digest,
        "commit": mlflow_tracking.git_commit(),
        "init": config.init,
    }
    return ModelCard(
        licences={**inherited, **{name: entry.licence for name, entry in store.manifest.sources.items()}}, facts=facts
    )


def _at_home_anywhere(config: RunConfig) -> RunConfig:
    """The same run with absolute paths: workers have other working folders."""
    return replace(
        config,
        store=absolute(config.store),
        storage=absolute(config.storage),
        cache_folder=absolute(config.cache_folder),
        tracking=config.tracking.absolute(),
        init=mlflow_tracking.pinned(config.tracking, config.init) if config.init else None,
    )
