"""The training loop that every worker runs, for every task.

Guarantees:

- The global batches do not depend on the number of workers, and neither does the loss curve, up to rounding: each
  worker takes its part of a batch that is a pure function of (seed, step).
- A run that is resumed from a checkpoint gives the same result as one that was not stopped; bitwise on one CPU worker.
- A checkpoint is reported complete or not at all.
- A gradient that is not finite does not change the weights.
"""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import ray.train as rt
from ray.train.torch import prepare_model

from datasets.loading.cache import Cache, fill
from datasets.store.parquet import open_store
from motion_encoder import ModelCard
from motion_encoder.metrics import Score
from pipelines.training.checkpoint import load_state, save_state
from pipelines.training.clips import TrainingClips, segment_table, training_clips
from pipelines.training.config import Job
from pipelines.training.finite_check import FiniteCheck
from pipelines.training.held_out import HeldOutPeople
from pipelines.training.mlflow_tracking import use
from pipelines.training.prepare import prepare
from pipelines.training.run_logger import RunLogger
from pipelines.training.train_step import Trained, train_step
from pipelines.training.worker import Worker


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """The configuration of a worker: the job, and facts that the driver has determined."""

    job: Job
    run_id: str
    """Id of the MLflow run."""
    card: ModelCard
    """The card of the model, without its scores, which are added at each checkpoint."""
    is_tty: bool
    """Whether the driver's stderr is a terminal."""


def train(loop: Mapping[str, WorkerConfig]) -> None:
    """Run one worker from the last checkpoint (or the start) until the last step."""
    config = loop["config"]
    _quiet_logs()
    job, worker = config.job, Worker.current()
    use(job.run.tracking)
    store = open_store(job.run.store)
    training, test = (fill(store, split, Path(job.run.cache)) for split in ("train", "test"))
    table = segment_table(training)
    trained = prepare(job.recipe, table, init=job.init, worker=worker, compute=job.run.compute)
    clips = training_clips(training, trained.task.choose_clips(job.recipe, table), job.recipe)
    start = _resume(trained)
    trained = replace(trained, network=prepare_model(trained.model, move_to_device=False))
    held_out = _held_out(trained, test, training)
    logger = _logger(config, start) if worker.is_first else None
    if start == 0:
        _log_scores(logger, 0, _score(trained, held_out))
    _run_steps(config, trained, clips, held_out, start, logger)
    if logger:
        logger.close()


def _run_steps(
    config: WorkerConfig,
    trained: Trained,
    clips: TrainingClips,
    held_out: HeldOutPeople,
    start: int,
    logger: RunLogger | None,
) -> None:
    run, last = config.job.run, trained.recipe.optimisation.steps
    finite = FiniteCheck(trained.worker.device)
    batches = clips.ahead(range(start, last), trained.worker)
    for done in range(start + 1, last + 1):
        began = time.perf_counter()
        position_B, batch = next(batches)
        waited = time.perf_counter() - began
        result = train_step(trained, batch, position_B, done - 1)
        finite.note(done, result)
        if logger:
            logger.step(waited=waited, took=time.perf_counter() - began)
        is_checkpoint = done % run.checkpoint_every == 0 or done == last
        if is_checkpoint or done % run.log_every == 0:
            finite.check()
            if logger:
                logger.point(done, result.values)
        scores = _score(trained, held_out) if done == last else ()
        _log_scores(logger, done, scores)
        if is_checkpoint:
            _report(config, trained, done, scores, logger)


def _quiet_logs() -> None:
    """Configure a worker's logs, which Ray forwards to the driver: all of our messages, but only others' warnings."""
    for others in ("", "mlflow"):
        logging.getLogger(others).setLevel(logging.WARNING)
    for ours in ("datasets", "motion_encoder", "pipelines"):
        logging.getLogger(ours).setLevel(logging.INFO)


def _resume(trained: Trained) -> int:
    checkpoint = rt.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return load_state(Path(folder), trained.model, trained.optimizer)


def _held_out(trained: Trained, test: Cache, training: Cache) -> HeldOutPeople:
    """Return the people to score on: the test split or, if it has no data for the task, the training split."""
    held_out = HeldOutPeople.of(test, trained.worker)
    if trained.task.can_score(trained.model, held_out.table):
        return held_out
    return HeldOutPeople.of(training, trained.worker)


def _score(trained: Trained, held_out: HeldOutPeople) -> tuple[Score, ...]:
    trained.worker.sync_buffers(trained.model)
    trained.model.eval()
    return trained.task.score(trained.model, held_out, trained.recipe.clip_frames)


def _logger(config: WorkerConfig, start: int) -> RunLogger:
    job = config.job
    return RunLogger(job.recipe, job.run.tracking, config.run_id, title=job.run.name, is_tty=config.is_tty, start=start)


def _log_scores(logger: RunLogger | None, done: int, scores: tuple[Score, ...]) -> None:
    if logger:
        logger.scores(done, scores)


def _report(
    config: WorkerConfig, trained: Trained, done: int, scores: tuple[Score, ...], logger: RunLogger | None
) -> None:
    """Report a checkpoint to Ray Train. The first worker writes it; all workers have to call this function."""
    if logger is None:
        rt.report({"step": done})
        return
    logger.flush()
    with tempfile.TemporaryDirectory() as folder:
        card = replace(config.card, scores=scores, facts={**config.card.facts, "step": done})
        save_state(Path(folder), trained.model, trained.optimizer, task=trained.task.name, card=card, step=done)
        rt.report({"step": done}, checkpoint=rt.Checkpoint.from_directory(folder))
