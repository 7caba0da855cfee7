"""Finetune one encoder to several tasks at once, each from the encoder and from scratch, to show the gain.

    python -m pipelines.finetune laptop_pose3d laptop_action --store STORE --model models:/motion-encoder@champion

Each task is trained twice: from the encoder and from scratch. Each of these runs is a Ray Train job and an MLflow run
below one parent run, and as many run at once as fit into the cluster. If a job fails, the others continue, and the
command ends with an error that names it.
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

from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import PRETRAINING, outside_modules
from pipelines.runtime.cli import RecipeChoice, parse_with_recipes, run_job
from pipelines.runtime.cluster import connect
from pipelines.training import mlflow_tracking
from pipelines.training.compute import ComputeConfig
from pipelines.training.config import Job, RunConfig
from pipelines.training.run import Finished, check, execute, read_record, write_record

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Options of the finetuning job."""

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    recipes: dict[str, Recipe] = field(default_factory=dict)
    """Recipes by name."""
    model: str = "models:/motion-encoder@champion"
    """Pretrained encoder to start from: a registry URI (models:/NAME@ALIAS), a model folder or file, or the URL of
    one."""
    steps: int | None = None
    """Number of optimizer steps of every job; the warm-up is scaled in proportion. By default as in each recipe."""
    scratch: bool = True
    """Also train each task from scratch, with the same number of steps, to compare."""
    register_prefix: str = "motion-"
    """Prefix of the models' names in the registry; the name of the task is appended (motion-pose3d)."""

    def __post_init__(self) -> None:
        if not self.recipes:
            raise ValueError("recipes: expected at least one, found none")


def finetune(config: FinetuneConfig) -> dict[str, Finished]:
    """Run all jobs; return the finished runs by name (``laptop_pose3d-pretrained``, ...).

    Raises:
        ValueError: a job failed; the message says which and why. The others are finished and registered.
    """
    run = config.run.with_absolute_paths()
    init = mlflow_tracking.pinned(run.tracking, config.model)
    recipes = [recipe if config.steps is None else recipe.over(config.steps) for recipe in config.recipes.values()]
    jobs = {
        f"{recipe.name}-{start}": check(_job(config, run, recipe, start, init))
        for recipe in recipes
        for start in (("pretrained", "scratch") if config.scratch else ("pretrained",))
    }
    connect(outside=outside_modules(recipes))
    run.compute.check_cluster()
    with _parent_run(run, init, recipes) as parent:
        jobs = {name: replace(job, parent_run=parent) for name, job in jobs.items()}
        finished, failed = _run_all(jobs, at_once=_jobs_at_once(run.compute))
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise ValueError(f"{len(failed)} of {len(jobs)} jobs failed: {reasons} -- Run again to resume them.")
    return finished


def _job(config: FinetuneConfig, run: RunConfig, recipe: Recipe, start: str, init: str) -> Job:
    return Job(
        run=replace(run, name=f"{run.name}-{recipe.name}-{start}"),
        recipe=recipe,
        register_as=config.register_prefix + recipe.task,
        init=init if start == "pretrained" else None,
    )


@contextmanager
def _parent_run(run: RunConfig, init: str, recipes: Sequence[Recipe]) -> Iterator[str]:
    """Open the parent MLflow run of the jobs, or reopen that of an earlier command with the same name."""
    identity = {"fan_out": True}
    record = read_record(run, identity)
    with mlflow_tracking.run(
        run.tracking,
        run.name,
        params={"model": init, "recipes": {recipe.name: recipe.to_tree() for recipe in recipes}},
        tags={"init": init, "store": run.store},
        resume_id=record.get("run_id"),
    ) as run_id:
        write_record(run, identity | {"run_id": run_id})
        yield run_id


def _jobs_at_once(compute: ComputeConfig) -> int:
    """Return how many jobs fit into the cluster at a time; more would wait inside Ray Train until it times out."""
    have = ray.cluster_resources()
    room = have["CPU"] // (compute.workers * compute.cpus_per_worker)
    if compute.gpus_per_worker:
        room = min(room, have.get("GPU", 0) // (compute.workers * compute.gpus_per_worker))
    return int(room)


def _run_all(jobs: Mapping[str, Job], *, at_once: int) -> tuple[dict[str, Finished], dict[str, str]]:
    """Run the jobs in order, ``at_once`` at a time; return the finished ones, and the reasons of the failed ones."""
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
            scores = (f"{score.protocol.key} {score.value:.4g}" for score in finished[name].scores)
            log.info("%s: %s", name, ", ".join(scores))
        except RayError as error:
            failed[name] = str(error).strip().splitlines()[-1]
            log.error("%s failed: %s", name, error)
    return {name: finished[name] for name in jobs if name in finished}, failed


@ray.remote(num_cpus=0)
def _execute(job: Job) -> Finished:
    """Run one job. This task needs no CPU: Ray Train's workers reserve the resources, and it waits for them."""
    return execute(job)


def configure(arguments: Sequence[str]) -> FinetuneConfig:
    """Parse the command line."""
    return parse_with_recipes(
        FinetuneConfig,
        RecipeChoice(
            kind=lambda recipe: recipe.task != PRETRAINING, default=("laptop_pose3d", "laptop_action"), several=True
        ),
        defaults=lambda recipes: FinetuneConfig(run=RunConfig(store=tyro.MISSING, name="finetune"), recipes=recipes),
        description="Finetune one encoder to several tasks at once, each from the encoder and from scratch.",
        arguments=arguments,
    )


if __name__ == "__main__":
    run_job(finetune, configure)
