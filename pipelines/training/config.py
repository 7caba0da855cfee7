"""The configuration of training runs, shared unchanged by the jobs, the driver and the workers."""

from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from motion_encoder.tasks.recipe import Recipe
from pipelines.runtime.paths import absolute
from pipelines.training.compute import ComputeConfig
from pipelines.training.mlflow_tracking import TrackingConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a training run reads, computes and writes."""

    store: str
    """Store to train on: a path or any fsspec URL, as extract wrote it."""
    name: str
    """Name of the run; the same name resumes it."""
    storage: str = "runs"
    """Folder that all nodes see, or a URL, for the checkpoints of all runs."""
    cache: str = "runs/cache"
    """Folder on each node for its memory-mapped copy of the store."""
    checkpoint_every: int = 200
    """Steps between two checkpoints; there is always one after the last step."""
    log_every: int = 10
    """Steps between two points of the curves."""
    compute: Annotated[ComputeConfig, tyro.conf.arg(name="")] = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"name: expected a name without '/', found {self.name!r}")
        for name in ("checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")

    def with_absolute_paths(self) -> "RunConfig":
        """Return the same with absolute paths: workers have other working folders."""
        return replace(
            self,
            store=absolute(self.store),
            storage=absolute(self.storage),
            cache=absolute(self.cache),
            tracking=self.tracking.absolute(),
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run: what to learn, from what, and what becomes of it."""

    run: RunConfig
    recipe: Recipe
    register_as: str
    """Name in the model registry."""
    init: str | None = None
    """URI or folder of the model whose encoder the task starts from; None: from scratch."""
    parent_run: str | None = None
    """MLflow run that this one is a child of."""
