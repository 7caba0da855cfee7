"""The logs of a run, which its first worker writes: curves in MLflow, system metrics, and a progress bar."""

from collections.abc import Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from torch import Tensor

from motion_encoder.metrics import Score
from motion_encoder.tasks.recipe import Recipe
from pipelines.runtime.progress import progress_bar
from pipelines.training.mlflow_tracking import MetricLog, TrackingConfig


class RunLogger:
    """Collects the values of steps and logs them as points of curves."""

    def __init__(
        self, recipe: Recipe, tracking: TrackingConfig, run_id: str, *, title: str, is_tty: bool, start: int
    ) -> None:
        self._recipe, self._steps = recipe, recipe.optimisation.steps
        self._log = MetricLog(tracking, run_id)
        self._system = SystemMetricsMonitor(run_id, resume_logging=start > 0)
        self._system.start()
        self._bar = progress_bar(title, self._steps, unit="step", is_tty=is_tty)
        self._bar.update(start)
        self._waited = self._took = 0.0
        self._since = start

    def step(self, *, waited: float, took: float) -> None:
        """Record a finished step: the seconds that it waited for data, and the seconds that it took."""
        self._bar.update(1)
        self._waited, self._took = self._waited + waited, self._took + took

    def point(self, done: int, values: Mapping[str, Tensor]) -> None:
        """Add a point to the curves after ``done`` steps."""
        optimisation = self._recipe.optimisation
        frames = (done - self._since) * optimisation.global_batch * self._recipe.clip_frames
        self._log.add(
            done,
            {name: value.item() for name, value in values.items()}
            | {
                "lr": optimisation.lr_at(done - 1),
                "frames_per_s": frames / self._took,
                "data_wait_share": self._waited / self._took,
            },
        )
        self._waited = self._took = 0.0
        self._since = done

    def scores(self, done: int, scores: tuple[Score, ...]) -> None:
        """Add held-out scores under the keys of their protocols."""
        self._log.add(done, {score.protocol.key: score.value for score in scores})

    def flush(self) -> None:
        """Send the buffered values; call it before a checkpoint records that the steps are done."""
        self._log.flush()

    def close(self) -> None:
        """Send the remaining values and stop."""
        self._log.flush()
        self._system.finish()
        self._bar.close()
