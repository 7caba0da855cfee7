"""Finetune one encoder to several tasks at once, each from the encoder and from scratch, so that the gain shows.

    python -m pipelines.finetune --store STORE --model models:/motion-encoder@champion

Every pair of task and start is a Ray Train job of its own and an MLflow run below one parent; as many run at once as
the cluster holds. One job that fails does not stop the others; the command then ends with an error that names it.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated

import ray
import tyro
from ray.exceptions import RayError

from datasets.store.parquet import open_store
from pipelines.runtime.cli import parse, run_job
from pipelines.runtime.cluster import connect
from pipelines.runtime.paths import absolute
from pipelines.training import mlflow_tracking
from pipelines.training.compute import ComputeConfig
from pipelines.training.mlflow_tracking import TrackingConfig
from pipelines.training.recipes import FINETUNE, FinetuneRecipe, as_tree
from pipelines.training.run import Finished, RunConfig, execute, read_record, write_record

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Options of the finetuning job."""

    store: str
    """Store to train on: a path or any fsspec URL, as extract wrote it."""
    model: str = "models:/motion-encoder@champion"
    """Pretrained encoder to start from: a registry URI or a model folder."""
    recipes: tuple[str, ...] = ("laptop_pose3d", "laptop_action")
    """Tasks, by recipe name."""
    steps: int | None = None
    """Optimizer steps of every job instead of the recipes' own; the warm-up shrinks or grows with them."""
    scratch: bool = True
    """Train each task from scratch too, with the same budget."""
    name: str = "finetune"
    """Names the fan-out; the same name resumes it."""
    storage: str = "runs"
    """Where runs keep their checkpoints: a folder that all nodes see, or a URL."""
    cache: str = "runs/cache"
    """Folder of each node for its memory-mapped copy of the store."""
    register_prefix: str = "motion-"
    """Task models are registered as this and the task."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    compute: Annotated[ComputeConfig, tyro.conf.arg(name="")] = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.recipes) - set(FINETUNE))
        if unknown or not self.recipes:
            raise ValueError(f"recipes: expected some of {', '.join(FINETUNE)}, found {', '.join(unknown) or 'none'}")
        if len(set(self.recipes)) < len(self.recipes):
            raise ValueError(f"recipes: expected each once, found {', '.join(self.recipes)}")


def finetune(config: FinetuneConfig) -> dict[str, Finished]:
    """Fan out; return what each job left behind, by its name (``laptop_pose3d-pretrained``, ...).

    Raises:
        ValueError: a job failed; the message says which and why. The others are finished and registered.
    """
    open_store(config.store)  # a mistake in it should not wait for a cluster to start
    connect()
    config.compute.check()
    where = config.tracking.absolute()
    init = mlflow_tracking.pinned(where, config.model)
    recipes = {name: _recipe(name, config.steps) for name in config.recipes}
    with _parent_run(config, init, recipes) as parent:
        jobs = {
            f"{recipe.name}-{start}": _job(config, recipe, start, init if start == "pretrained" else None, parent)
            for recipe in recipes.values()
            for start in (("pretrained", "scratch") if config.scratch else ("pretrained",))
        }
        finished, failed = _run_all(jobs, at_once=_jobs_at_once(config.compute))
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise ValueError(f"{len(failed)} of {len(jobs)} jobs failed: {reasons} -- Run again to resume them.")
    return finished


@contextmanager
def _parent_run(config: FinetuneConfig, init: str, recipes: Mapping[str, FinetuneRecipe]) -> Iterator[str]:
    """The MLflow run above the jobs; that of an earlier fan-out of the same name goes on."""
    storage, identity = absolute(config.storage), {"fan_out": True}
    record = read_record(storage, config.name, identity)
    params = {"model": init, "recipes": {name: as_tree(recipe) for name, recipe in recipes.items()}}
    with mlflow_tracking.run(
        config.tracking.absolute(),
        config.name,
        params=params,
        tags={"init": init, "store": config.store},
        resume_id=record.get("run_id"),
    ) as run_id:
        write_record(storage, config.name, identity | {"run_id": run_id})
        yield run_id


def _recipe(name: str, steps: int | None) -> FinetuneRecipe:
    recipe = FINETUNE[name]()
    return recipe if steps is None else replace(recipe, optimisation=recipe.optimisation.over(steps))


def _job(config: FinetuneConfig, recipe: FinetuneRecipe, start: str, init: str | None, parent: str) -> RunConfig:
    return RunConfig(
        name=f"{config.name}-{recipe.name}-{start}",
        recipe=recipe,
        store=absolute(config.store),
        storage=absolute(config.storage),
        cache_folder=absolute(config.cache),
        register_as=config.register_prefix + recipe.task,
        checkpoint_every=config.checkpoint_every,
        compute=config.compute,
        tracking=config.tracking.absolute(),
        init=init,
        parent_run=parent,
    )


def _jobs_at_once(compute: ComputeConfig) -> int:
    """How many jobs the cluster holds at a time; more would only wait inside Ray Train and run into its time-outs."""
    have = ray.cluster_resources()
    room = have["CPU"] // (compute.workers * compute.cpus_per_worker)
    if compute.gpus_per_worker:
        room = min(room, have.get("GPU", 0) // (compute.workers * compute.gpus_per_worker))
    return int(room)


def _run_all(jobs: Mapping[str, RunConfig], *, at_once: int) -> tuple[dict[str, Finished], dict[str, str]]:
    """Run the jobs, ``at_once`` at a time, in the order given; return (finished, reasons of the failed)."""
    waiting, running = dict(jobs), {}
    finished: dict[str, Finished] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            name = next(iter(waiting))
            running[_execute.options(name=name).remote(waiting.pop(name))] = name
        [done], _ = ray.wait(list(running))
        name = running.pop(done)
        try:
            finished[name] = ray.get(done)
            log.info(
                "%s: %s", name, ", ".join(f"{score.protocol.key} {score.value:.4g}" for score in finished[name].scores)
            )
        except RayError as error:
            failed[name] = str(error).strip().splitlines()[-1]
            log.error("%s failed: %s", name, error)
    return {name: finished[name] for name in jobs if name in finished}, failed


@ray.remote(num_cpus=0)
def _execute(job: RunConfig) -> Finished:
    """A driver of its own for each job: Ray Train's workers hold the resources, this only waits for them."""
    return execute(job)


def _config(arguments: Sequence[str]) -> FinetuneConfig:
    return parse(FinetuneConfig, "Finetune one encoder to several tasks at once.", arguments)


if __name__ == "__main__":
    run_job(finetune, _config)
