"""The driver of a training run: check it, start or resume it on Ray Train, track it, and register its model.

A run is a folder `STORAGE/NAME` with `run.json` (recipe, store digest, MLflow run) and Ray Train's checkpoints. If the
name, recipe and store are the same, the run is resumed; the same name with another recipe or store is an error.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray.train as rt
from ray.train.torch import TorchTrainer

from datasets.files import url_to_fs
from datasets.store.parquet import Store, open_store, write_whole
from motion_encoder import ModelCard, describe
from motion_encoder.io.checkpoints import describe_folder
from motion_encoder.metrics import Protocol, Score
from motion_encoder.tasks.registry import find_task
from pipelines.training import mlflow_tracking
from pipelines.training.checkpoint import MODEL
from pipelines.training.clips import check_choice, manifest_table
from pipelines.training.config import Job, RunConfig
from pipelines.training.loop import WorkerConfig, train
from pipelines.training.mlflow_tracking import flatten
from pipelines.training.prepare import check_size
from pipelines.training.user_errors import StopOnUserError, UserError, user_message

log = logging.getLogger(__name__)

RECORD = "run.json"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The results of a finished run, which are also stored in its `run.json`."""

    run_id: str
    model: str
    """URI of the registered version: ``models:/NAME/VERSION``."""
    scores: tuple[Score, ...]
    """Scores on held-out people after the last step; the first one is compared with the champion's."""


def check(job: Job) -> Job:
    """Check a job before a cluster starts; return it with absolute paths and the present versions of models.

    Raises:
        ValueError: the store cannot be used or does not fit the recipe, the pretrained model is missing or has another
            size, or the name belongs to another run.
    """
    run = job.run.with_absolute_paths()
    job = replace(job, run=run, init=mlflow_tracking.pinned(run.tracking, job.init) if job.init else None)
    run.compute.check_batch(job.recipe.optimisation.global_batch)
    store = open_store(run.store)
    table = manifest_table(store, "train")
    check_choice(find_task(job.recipe.task).choose_clips(job.recipe, table), table)
    if job.init:
        mlflow_tracking.use(run.tracking)
        check_size(job.init, describe(job.init).build().encoder.config, job.recipe)
    read_record(run, _identity(job, store))
    return job


def execute(job: Job) -> Finished:
    """Run (or resume) a job until its end: train, register the model, and make it champion if it is better.

    Raises:
        ValueError: as in ``check``; or the cluster is too small; or a worker had an error that a restart cannot fix (a
            damaged store, a full disk, a loss that is not finite).
        ray.train.TrainingFailedError: workers failed more often than ``compute.max_failures``.
    """
    job = check(job)
    run = job.run
    run.compute.check_cluster()
    store = open_store(run.store)
    identity = _identity(job, store)
    record = read_record(run, identity)
    if "finished" in record:
        log.info("%s: already finished; choose another name to train again", run.name)
        return _finished(record)
    tags = {"store": run.store, "store.digest": store.manifest.digest, "init": job.init or "scratch"}
    with mlflow_tracking.run(
        run.tracking,
        run.name,
        params=identity["recipe"],
        tags=tags,
        resume_id=record.get("run_id"),
        parent_id=job.parent_run,
    ) as run_id:
        record = identity | {"run_id": run_id}
        write_record(run, record)
        with _fitted_model(job, store, run_id) as folder:
            scores = ModelCard.from_tree(describe_folder(folder).card).scores
            version = mlflow_tracking.register(
                run.tracking, folder, name=job.register_as, run_id=run_id, score=scores[0], tags=tags
            )
    finished = Finished(run_id=run_id, model=f"models:/{job.register_as}/{version}", scores=scores)
    write_record(run, record | {"finished": asdict(finished)})
    return finished


def _identity(job: Job, store: Store) -> dict[str, Any]:
    """Return the settings that must be equal for a run to be resumed."""
    return {"recipe": job.recipe.to_tree(), "store_digest": store.manifest.digest, "init": job.init}


@contextmanager
def _fitted_model(job: Job, store: Store, run_id: str) -> Iterator[Path]:
    """Train until the last step and yield the model folder of the last checkpoint."""
    run = job.run
    worker_config = WorkerConfig(job=job, run_id=run_id, card=_card(job, store), is_tty=sys.stderr.isatty())
    trainer = TorchTrainer(
        train,
        train_loop_config={"config": worker_config},
        scaling_config=run.compute.scaling(),
        run_config=rt.RunConfig(
            name=run.name,
            storage_path=run.storage,
            failure_config=rt.FailureConfig(max_failures=run.compute.max_failures),
            checkpoint_config=rt.CheckpointConfig(num_to_keep=2),
            logging_config=rt.LoggingConfig(log_level="WARNING"),
            callbacks=[StopOnUserError(run.storage)],
        ),
    )
    checkpoint = _fit(trainer, run.storage).checkpoint
    assert checkpoint is not None, "the loop reports a checkpoint after its last step"
    with checkpoint.as_directory() as folder:
        yield Path(folder) / MODEL


def _fit(trainer: TorchTrainer, storage: str) -> rt.Result:
    try:
        return trainer.fit()
    except rt.ControllerError as error:
        if isinstance(cause := error.controller_failure, UserError):
            raise ValueError(str(cause)) from error
        if (message := user_message(cause, storage)) is not None:
            raise ValueError(message) from error
        raise


def read_record(run: RunConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's record, or {} if it is new or has no checkpoint yet.

    Raises:
        ValueError: the record differs from ``identity``; the message lists the differences.
    """
    filesystem, path = url_to_fs(_record_path(run))
    if not filesystem.exists(path):
        return {}
    record = json.loads(filesystem.cat_file(path))
    former = {key: record.get(key) for key in identity}
    now, then = (flatten(json.loads(json.dumps(tree))) for tree in (identity, former))
    differing = sorted(key for key in now | then if now.get(key) != then.get(key))
    changed = [f"{key}: was {then.get(key)!r}, now {now.get(key)!r}" for key in differing]
    if changed and not filesystem.glob(f"{path.removesuffix(RECORD)}checkpoint_*"):
        return {}
    if changed:
        raise ValueError(
            f"run {run.name!r} in {run.storage} was started with other settings ({'; '.join(changed)}). "
            "Resume it with those, or choose another --name."
        )
    return record


def write_record(run: RunConfig, record: Mapping[str, Any]) -> None:
    """Write the record of a run atomically."""
    write_whole(_record_path(run), json.dumps(record, indent=2).encode())


def _record_path(run: RunConfig) -> str:
    return f"{run.storage}/{run.name}/{RECORD}"


def _finished(record: Mapping[str, Any]) -> Finished:
    raw = record["finished"]
    return Finished(run_id=raw["run_id"], model=raw["model"], scores=tuple(map(_score, raw["scores"])))


def _score(raw: Mapping[str, Any]) -> Score:
    return Score(**{**raw, "protocol": Protocol(**raw["protocol"])})


def _card(job: Job, store: Store) -> ModelCard:
    """Return the card of a new model; it also has the licences of the model that training started from."""
    inherited = ModelCard.from_tree(describe(job.init).card).licences if job.init else {}
    licences = {name: entry.licence for name, entry in store.manifest.sources.items()}
    return ModelCard(
        licences={**inherited, **licences},
        clip_frames=job.recipe.clip_frames,
        facts={
            "recipe": job.recipe.to_tree(),
            "store_digest": store.manifest.digest,
            "commit": mlflow_tracking.git_commit(),
            "init": job.init,
        },
    )
