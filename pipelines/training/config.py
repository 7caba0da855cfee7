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
    """Input, output and resources of a training run."""

    store: str
    """Store to train on, as written by the extract job: a path or any fsspec URL."""
    name: str
    """Name of the run. If a run of this name was stopped, it is resumed."""
    storage: str = "runs"
    """Folder (visible to all nodes) or URL where runs keep their checkpoints."""
    cache: str = "runs/cache"
    """Folder on each node for a memory-mapped copy of the store."""
    checkpoint_every: int = 200
    """Number of steps between two checkpoints. There is always a checkpoint after the last step."""
    log_every: int = 10
    """Number of steps between two points of the logged curves."""
    compute: Annotated[ComputeConfig, tyro.conf.arg(name="")] = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"name: expected a name without '/', found {self.name!r}")
        for name in ("checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")

    def with_absolute_paths(self) -> "RunConfig":
        """Return the same configuration with absolute paths, since workers have other working folders."""
        return replace(
            self,
            store=absolute(self.store),
            storage=absolute(self.storage),
            cache=absolute(self.cache),
            tracking=self.tracking.absolute(),
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run: where it runs, its recipe, the model it starts from, and the name it registers."""

    run: RunConfig
    recipe: Recipe
    register_as: str
    """Name of the trained model in the registry."""
    init: str | None = None
    """URI or folder of the model whose encoder the task starts from; None to train from scratch."""
    parent_run: str | None = None
    """Id of the parent MLflow run; None for no parent."""
