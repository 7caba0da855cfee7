"""Pretrain an encoder: recover 3D motion from masked, noisy 2D skeletons, on any number of workers.

    python -m pipelines.pretrain laptop --store STORE --workers 2

The same command resumes a run that was stopped. The encoder is registered in MLflow. It becomes ``champion`` if its
held-out error is lower than the previous champion's under the same protocol.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import PRETRAINING, outside_modules
from pipelines.runtime.cli import RecipeChoice, parse_with_recipes, run_job
from pipelines.runtime.cluster import connect
from pipelines.training.config import Job, RunConfig
from pipelines.training.run import Finished, check, execute


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Options of the pretraining job."""

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    recipe: Recipe
    register_as: str = "motion-encoder"
    """Name of the trained encoder in the model registry."""


def pretrain(config: PretrainConfig) -> Finished:
    """Train (or resume) until the last step, and register the encoder."""
    job = check(Job(run=config.run, recipe=config.recipe, register_as=config.register_as))
    connect(outside=outside_modules([config.recipe]))
    return execute(job)


def configure(arguments: Sequence[str]) -> PretrainConfig:
    """Parse the command line."""
    return parse_with_recipes(
        PretrainConfig,
        RecipeChoice(kind=lambda recipe: recipe.task == PRETRAINING, default=("motionbert",), several=False),
        defaults=lambda recipes: PretrainConfig(
            run=RunConfig(store=tyro.MISSING, name="pretrain"), recipe=next(iter(recipes.values()))
        ),
        description="Pretrain an encoder: recover 3D motion from masked, noisy 2D skeletons.",
        arguments=arguments,
    )


if __name__ == "__main__":
    run_job(pretrain, configure)
