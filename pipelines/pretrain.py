"""Pretrain an encoder: recover 3D motion from masked, noisy 2D skeletons, on any number of workers.

    python -m pipelines.pretrain laptop --store STORE --workers 2

The same command again resumes a run that was stopped. The encoder is registered in MLflow, as ``champion`` if its
held-out error beats the former one's under the same protocol.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: this folder is on the path, the checkout has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from datasets.store.parquet import open_store
from pipelines.runtime.cli import parse_recipe, run_job
from pipelines.runtime.cluster import connect
from pipelines.training.compute import ComputeConfig
from pipelines.training.mlflow_tracking import TrackingConfig
from pipelines.training.recipes import PRETRAIN, PretrainRecipe
from pipelines.training.run import Finished, RunConfig, execute


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Options of the pretraining job."""

    store: str
    """Store to train on: a path or any fsspec URL, as extract wrote it."""
    recipe: PretrainRecipe
    name: str = "pretrain"
    """Names the run; the same name resumes it."""
    storage: str = "runs"
    """Where runs keep their checkpoints: a folder that all nodes see, or a URL."""
    cache: str = "runs/cache"
    """Folder of each node for its memory-mapped copy of the store."""
    register_as: str = "motion-encoder"
    """Name in the model registry."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    compute: Annotated[ComputeConfig, tyro.conf.arg(name="")] = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def pretrain(config: PretrainConfig) -> Finished:
    """Train, or resume, to the last step and register the encoder."""
    open_store(config.store)  # a mistake in it should not wait for a cluster to start
    connect()
    return execute(
        RunConfig(
            name=config.name,
            recipe=config.recipe,
            store=config.store,
            storage=config.storage,
            cache_folder=config.cache,
            register_as=config.register_as,
            checkpoint_every=config.checkpoint_every,
            compute=config.compute,
            tracking=config.tracking,
        )
    )


def _config(arguments: Sequence[str]) -> PretrainConfig:
    return parse_recipe(
        PretrainConfig,
        PRETRAIN,
        default="motionbert",
        defaults=lambda recipe: PretrainConfig(store=tyro.MISSING, recipe=recipe),
        description="Pretrain an encoder.",
        arguments=arguments,
    )


if __name__ == "__main__":
    run_job(pretrain, _config)
