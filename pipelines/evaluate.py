"""Score a model on held-out people, under the protocol of its task.

    python -m pipelines.evaluate --model models:/motion-pose3d@champion --store STORE

Prints the protocol key and the value of every score, and logs them to a new MLflow run.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch

from datasets.loading.cache import fill
from datasets.store.parquet import open_store
from motion_encoder.io.loading import load_with_task
from motion_encoder.metrics import Score
from motion_encoder.tasks.registry import find_task, import_modules
from pipelines.runtime.cli import parse, run_job
from pipelines.runtime.paths import absolute
from pipelines.training import mlflow_tracking
from pipelines.training.held_out import HeldOutPeople
from pipelines.training.mlflow_tracking import TrackingConfig
from pipelines.training.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Options of the evaluation job."""

    model: str
    """Model to score: a registry URI (models:/NAME@ALIAS), a model folder or file, or the URL of one."""
    store: str
    """Store with the held-out people: a path or any fsspec URL."""
    split: str = "test"
    """Split to score on: test (people that the model was not trained on) or train. It is part of the protocol key."""
    clip_frames: int | None = None
    """Number of frames in a window. By default the length of the model's training clips or, if its card does not state
    it, the model's longest clip."""
    cache: str = "runs/cache"
    """Folder for a memory-mapped copy of the split."""
    modules: tuple[str, ...] = ()
    """Modules to import first. Needed for a model of a task of your own that is defined in one of them."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.clip_frames is not None and self.clip_frames < 1:
            raise ValueError(f"clip_frames: expected at least 1, found {self.clip_frames}")


def evaluate(config: EvaluateConfig) -> tuple[Score, ...]:
    """Score the model; return its scores, the deciding one first."""
    where = config.tracking.absolute()
    mlflow_tracking.use(where)
    import_modules(config.modules)
    model, task_name = load_with_task(config.model)
    task = find_task(task_name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cache = fill(open_store(config.store), config.split, Path(absolute(config.cache)))
    held_out = HeldOutPeople.of(cache, Worker(device=device))
    frames = config.clip_frames or model.card.clip_frames or model.encoder.config.max_frames
    scores = task.score(model.to(device), held_out, frames)
    tags = {"model": mlflow_tracking.pinned(where, config.model), "store.digest": cache.store.manifest.digest}
    with mlflow_tracking.run(where, "evaluate", params=asdict(config), tags=tags) as run_id:
        curve = mlflow_tracking.MetricLog(where, run_id)
        curve.add(0, {score.protocol.key: score.value for score in scores})
        curve.flush()
    for score in scores:
        log.info("%-70s %10.4f", score.protocol.key, score.value)
    return scores


def configure(arguments: Sequence[str]) -> EvaluateConfig:
    """Parse the command line."""
    return parse(EvaluateConfig, "Score a model on held-out people.", arguments)


if __name__ == "__main__":
    run_job(evaluate, configure)
