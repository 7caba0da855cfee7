"""The whole pipeline on this machine: recordings → store → pretraining → finetuning → registry → lifting.

    python -m pipelines.quickstart                  # on generated motion: nothing to download
    python -m pipelines.quickstart --data FOLDER    # on your recordings

The encoder is tiny, so that it takes minutes on two cores. Otherwise it runs the same jobs, Ray, MLflow and registry as
a cluster. If it is stopped, the same command continues it.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from datasets.loading.cache import fill
from datasets.store.manifest import Manifest
from datasets.store.parquet import open_store
from motion_encoder.tasks.pose import PretrainRecipe, laptop
from motion_encoder.tasks.registry import find_recipe
from pipelines.extract import ExtractConfig, extract
from pipelines.figures.showcase import show
from pipelines.finetune import FinetuneConfig, finetune
from pipelines.pretrain import PretrainConfig, pretrain
from pipelines.runtime.cli import parse, run_job
from pipelines.runtime.cluster import connect
from pipelines.runtime.paths import absolute
from pipelines.training import mlflow_tracking
from pipelines.training.compute import ComputeConfig
from pipelines.training.config import RunConfig
from pipelines.training.mlflow_tracking import TrackingConfig
from pipelines.training.run import Finished

log = logging.getLogger(__name__)

TASKS = ("laptop_pose3d", "laptop_action")
PROCEDURAL = "procedural://?people=12"


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Options of the quickstart."""

    data: str = PROCEDURAL
    """Recordings to use: a folder or any fsspec URL, with any mix of the formats of docs/formats.md. By default
    generated motion of 12 people."""
    out: Path | None = None
    """Folder for all results. By default quickstart/NAME, where NAME is the name of the data's folder."""
    pretrain_steps: int | None = None
    """Number of optimizer steps of pretraining. By default that of the recipe laptop."""
    finetune_steps: int | None = None
    """Number of optimizer steps of each finetuning job. By default those of the recipes laptop_pose3d and
    laptop_action."""
    workers: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    """Number of DDP workers for pretraining, each with one CPU core."""

    @property
    def folder(self) -> Path:
        """Return the folder for all results."""
        name = "procedural" if self.data == PROCEDURAL else Path(self.data).name
        return Path(absolute(str(self.out or Path("quickstart") / name)))


def quickstart(config: QuickstartConfig) -> None:
    """Run the whole pipeline and log a summary of the results."""
    began = time.monotonic()
    folder = config.folder
    run = RunConfig(
        store=f"{folder}/store",
        name="pretrain",
        storage=f"{folder}/runs",
        cache=f"{folder}/cache",
        tracking=TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"),
    )
    _same_settings(config)
    connect()

    _headline(1, f"Extract {config.data} into a Parquet store")
    manifest = extract(ExtractConfig(input=(config.data,), store=run.store))

    _headline(2, f"Pretrain on {config.workers} workers: recover 3D motion from masked, noisy 2D")
    with_workers = replace(run, compute=ComputeConfig(workers=config.workers))
    pretrained = pretrain(PretrainConfig(run=with_workers, recipe=_pretraining(config)))

    recipes = {name: find_recipe(name) for name in _tasks(manifest)}
    _headline(3, f"Finetune {' and '.join(recipes)}, each from the encoder and from scratch, in parallel")
    finetuning = replace(run, name="finetune")
    tasks = finetune(
        FinetuneConfig(run=finetuning, recipes=recipes, model=pretrained.model, steps=config.finetune_steps)
    )

    _headline(4, "Pull the champion from the registry and lift held-out people")
    caches = tuple(fill(open_store(run.store), split, Path(run.cache)) for split in ("test", "train"))
    shown = show("models:/motion-pose3d@champion", caches, folder / "lifted", run.tracking)
    _summary(config, run.tracking, manifest, pretrained, tasks, shown, time.monotonic() - began)


def _same_settings(config: QuickstartConfig) -> None:
    """Reject a folder with the results of other settings, which would be mixed with these.

    Raises:
        ValueError: the folder was made with other data, steps, workers or recipes.
    """
    recipes = {name: find_recipe(name).to_tree() for name in TASKS}
    settings = {"data": config.data, "steps": [config.pretrain_steps, config.finetune_steps], "workers": config.workers}
    text = json.dumps(settings | {"pretrain": laptop().to_tree(), "finetune": recipes}, indent=2)
    path = config.folder / "quickstart.json"
    if path.is_file() and path.read_text() != text:
        raise ValueError(f"{config.folder} was made with other settings. Remove it, or pass --out with another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _pretraining(config: QuickstartConfig) -> PretrainRecipe:
    return laptop() if config.pretrain_steps is None else laptop().over(config.pretrain_steps)


def _tasks(manifest: Manifest) -> tuple[str, ...]:
    """Return the recipes to finetune: 3D pose, and action if exactly one source has labels to learn."""
    labelled = [name for name, entry in manifest.sources.items() if entry.labels]
    if len(labelled) == 1:
        return TASKS
    log.info(
        "skipping the action task: %s",
        f"several sources have labels: {labelled}" if labelled else "no source has labels",
    )
    return TASKS[:1]


def _shown(path: Path) -> Path:
    """Return the path relative to the current folder if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def configure(arguments: Sequence[str]) -> QuickstartConfig:
    """Parse the command line."""
    return parse(QuickstartConfig, __doc__ or "", arguments)


def _headline(number: int, text: str) -> None:
    log.info("\n[%d/4] %s", number, text)


def _summary(
    config: QuickstartConfig,
    where: TrackingConfig,
    manifest: Manifest,
    pretrained: Finished,
    tasks: Mapping[str, Finished],
    keypoints: Path,
    seconds: float,
) -> None:
    folder = _shown(config.folder)
    frames = sum(entry.total.frames for entry in manifest.sources.values())
    log.info("\nDone in %.0f s. What was made, below %s:", seconds, folder)
    log.info("  store/    %s frames of %s", f"{frames:,}", ", ".join(manifest.sources))
    log.info("  runs/     checkpoints; mlflow.db and mlartifacts/ the tracked runs and the model registry")
    log.info("  lifted/   view.html, strip.png and the motions as .npz")
    log.info("\nScores by protocol (split test: people who were never trained on):")
    for line in _table(where, pretrained, tasks):
        log.info("  %s", line)
    log.info("\nLook at it:")
    log.info("  3D view:    open %s in a browser", folder / "lifted" / "view.html")
    log.info("  MLflow UI:  .venv/bin/mlflow ui --backend-store-uri sqlite:///%s/mlflow.db", folder)
    log.info("Next, lift keypoints of your own detector (or these again):")
    log.info("  export MLFLOW_TRACKING_URI=sqlite:///%s/mlflow.db", folder)
    log.info(
        "  .venv/bin/python -m pipelines.lift --keypoints %s --model models:/motion-pose3d@champion --out lifted",
        _shown(keypoints),
    )


def _table(where: TrackingConfig, pretrained: Finished, tasks: Mapping[str, Finished]) -> list[str]:
    """Return lines with the deciding score of every model, and of the untrained network, grouped by protocol."""
    protocol = pretrained.scores[0].protocol
    before = mlflow_tracking.client(where).get_metric_history(pretrained.run_id, protocol.key)[0].value
    rows = [(protocol.key, "before training", before), (protocol.key, "pretrained", pretrained.scores[0].value)]
    rows += [(job.scores[0].protocol.key, name, job.scores[0].value) for name, job in tasks.items()]
    lines: list[str] = []
    for key in dict.fromkeys(key for key, _, _ in rows):
        lines.append(key)
        lines += [f"  {name:28} {_number(value)}" for each, name, value in rows if each == key]
    return lines


def _number(value: float) -> str:
    return f"{value:8.1f}" if value > 1 else f"{value:8.1%}"


if __name__ == "__main__":
    run_job(quickstart, configure)
