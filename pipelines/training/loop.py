"""The training loop every worker runs, for every task.

Promises: the same global batch and the same loss curve whatever the number of workers (each takes its slice of a batch
that is a pure function of (seed, step); losses are divided by counts over all workers); resuming at any checkpoint goes
on as if nothing had happened, bitwise on one CPU worker; a checkpoint is reported whole or not at all.
"""

import logging
import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import ray.train as rt
import torch
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from ray.train.torch import prepare_model
from torch import Tensor, nn

from datasets.loading.cache import fill
from datasets.loading.gather import Clips
from datasets.store.parquet import open_store
from motion_encoder import ModelCard, save
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.metrics import Score
from motion_encoder.shapes import Int
from pipelines.runtime.progress import progress_bar
from pipelines.training.checkpoint import MODEL, load_state, save_state
from pipelines.training.compute import ComputeConfig
from pipelines.training.mlflow_tracking import MetricLog, TrackingConfig
from pipelines.training.recipes import Recipe
from pipelines.training.tasks import Task, make_task
from pipelines.training.worker import Worker


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What a worker needs to know; plain data that travels to it."""

    recipe: Recipe
    init: str | None
    """URI or folder of the model whose encoder the task starts from; none: from scratch."""
    store: str
    cache_folder: str
    tracking: TrackingConfig
    run_id: str
    title: str
    """What the progress bar says."""
    card: ModelCard
    """What a model folder says of its origin."""
    checkpoint_every: int
    """Steps between two checkpoints; there is always one after the last step."""
    compute: ComputeConfig
    on_terminal: bool
    """Whether somebody watches: a bar that moves, or else a line now and then."""
    log_every: int = 10
    """Steps between two points of the curves."""


def train(loop: Mapping[str, LoopConfig]) -> None:
    """Run one worker from the last checkpoint (or the start) to the last step."""
    config = loop["config"]
    _keep_quiet()
    recipe, worker = config.recipe, Worker.here()
    mlflow.set_tracking_uri(config.tracking.uri)
    store = open_store(config.store)
    training, held_out = (fill(store, split, Path(config.cache_folder)) for split in ("train", "test"))
    task = make_task(recipe, training, config.init)
    config.compute.prepare(task.network, task.encoder)
    clips_of = task.training_clips(training)
    task.network.to(worker.device)
    optimizer = make_optimizer(task, pretrained=config.init is not None)
    start = _resume(task.network, optimizer)
    network = prepare_model(task.network, move_to_device=False)

    scored = held_out if task.can_score(held_out) else training  # the split is part of every score's protocol
    curves = Curves(config, start) if worker.is_first else None
    if start == 0:
        _note(curves, 0, task.evaluate(scored, worker))
    scores: tuple[Score, ...] = ()
    last = recipe.optimisation.steps
    for step in range(start, last):
        began = time.perf_counter()
        position_B, clips = clips_of.at(step, worker)
        clips = clips.to(worker.device)
        waited = time.perf_counter() - began
        values = move_weights(network, task, optimizer, clips, position_B, step, worker)
        done = step + 1
        if curves:
            curves.step(done, values, waited=waited, took=time.perf_counter() - began)
        if done == last:
            worker.follow_first(task.network)
            scores = task.evaluate(scored, worker)
            _note(curves, done, scores)
        if done % config.checkpoint_every == 0 or done == last:
            _report(config, task, optimizer, done, scores, curves)
    if curves:
        curves.close()


def _keep_quiet() -> None:
    """Workers' logs reach the driver's terminal: ours, and of all others the warnings."""
    for others in ("", "mlflow"):
        logging.getLogger(others).setLevel(logging.WARNING)
    for ours in ("datasets", "motion_encoder", "pipelines"):
        logging.getLogger(ours).setLevel(logging.INFO)


def make_optimizer(task: Task, *, pretrained: bool) -> torch.optim.Optimizer:
    """AdamW; the learning rate is set before every step, scaled by the group's ``scale``."""
    groups = task.parameter_groups(pretrained=pretrained)
    decay = task.recipe.optimisation.weight_decay
    return torch.optim.AdamW(groups, lr=task.recipe.optimisation.lr, weight_decay=decay, fused=True)


def _resume(network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    checkpoint = rt.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return load_state(Path(folder), network, optimizer)


def _randomness(recipe: Recipe, step: int, position_B: np.ndarray, worker: Worker) -> KeyedRandom:
    """Key the step's draws; dropout draws from torch's own generator, which is keyed anew."""
    torch.manual_seed(hash((recipe.seed, step, worker.rank)))
    return KeyedRandom.at(recipe.seed, step, torch.from_numpy(position_B).to(worker.device))


def move_weights(
    network: nn.Module,
    task: Task,
    optimizer: torch.optim.Optimizer,
    clips: Clips,
    position_B: Int[np.ndarray, "B"],
    step: int,
    worker: Worker,
) -> dict[str, Tensor]:
    """Do one step on this worker's clips, which stand at ``position_B`` of the global batch.

    Returns the step's global values (loss, its terms, gradient norm), still on the device. ``network`` is the task's,
    wrapped where there are several workers.
    """
    recipe, optimisation = task.recipe, task.recipe.optimisation
    random = _randomness(recipe, step, position_B, worker)
    for group in optimizer.param_groups:
        group["lr"] = optimisation.lr_at(step) * group["scale"]
    network.train()
    with torch.autocast(worker.device.type, torch.bfloat16) if recipe.precision == "bfloat16" else nullcontext():
        sums = task.losses(network, clips, random)
    local = torch.stack([torch.stack([each.total.detach().float(), each.count.float()]) for each in sums.values()])
    total_K, count_K = worker.total(local).unbind(dim=1)
    # DDP averages gradients over workers: with the global count below, the average has to become a sum again.
    share_K = worker.world_size / count_K.clamp_min(1)
    loss = torch.stack([task.weights[name] * each.total for name, each in sums.items()]) @ share_K
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), optimisation.clip_norm or math.inf)
    optimizer.step()
    optimizer.zero_grad()

    mean_K = total_K / count_K.clamp_min(1)
    terms = {f"loss/{name}": mean_K[index] for index, name in enumerate(sums)}
    whole = sum(task.weights[name] * terms[f"loss/{name}"] for name in sums)
    return {"loss": torch.as_tensor(whole), "grad_norm": norm, **terms}


class Curves:
    """The first worker's record of the run: MLflow curves, system metrics, a progress bar."""

    def __init__(self, config: LoopConfig, start: int) -> None:
        self._config, self._optimisation = config, config.recipe.optimisation
        self._log = MetricLog(config.tracking, config.run_id)
        self._system = SystemMetricsMonitor(config.run_id, resume_logging=start > 0)
        self._system.start()
        self._bar = progress_bar(config.title, self._optimisation.steps, unit="step", on_terminal=config.on_terminal)
        self._bar.update(start)
        self._waited = self._took = 0.0
        self._since = start

    def step(self, done: int, values: Mapping[str, Tensor], *, waited: float, took: float) -> None:
        """Note a step; every ``log_every`` steps, and before each checkpoint, a point of the curves is made.

        Raises:
            FloatingPointError: loss or gradient is infinite or NaN, so that no checkpoint holds such weights.
        """
        self._bar.update(1)
        self._waited, self._took = self._waited + waited, self._took + took
        if all(
            done % each for each in (self._config.log_every, self._config.checkpoint_every, self._optimisation.steps)
        ):
            return
        point = {name: value.item() for name, value in values.items()}
        if not all(map(torch.isfinite, torch.tensor(list(point.values())))):
            raise FloatingPointError(f"step {done}: the loss is no longer finite: {point}; try a lower optimisation.lr")
        frames = (done - self._since) * self._optimisation.global_batch * self._config.recipe.clip_frames
        point |= {
            "lr": self._optimisation.lr_at(done - 1),
            "frames_per_s": frames / self._took,
            "data_wait_share": self._waited / self._took,
        }
        self._log.add(done, point)
        self._waited = self._took = 0.0
        self._since = done

    def scores(self, done: int, scores: tuple[Score, ...]) -> None:
        """Note held-out scores under their protocols' keys."""
        self._log.add(done, {score.protocol.key: score.value for score in scores})

    def flush(self) -> None:
        """Send what waits, before a checkpoint says that the steps are done."""
        self._log.flush()

    def close(self) -> None:
        """Send the rest and stop."""
        self._log.flush()
        self._system.finish()
        self._bar.close()


def _note(curves: Curves | None, done: int, scores: tuple[Score, ...]) -> None:
    if curves:
        curves.scores(done, scores)


def _report(
    config: LoopConfig,
    task: Task,
    optimizer: torch.optim.Optimizer,
    done: int,
    scores: tuple[Score, ...],
    curves: Curves | None,
) -> None:
    """Hand a checkpoint to Ray Train: the first worker writes it, all meet here."""
    if curves is None:
        rt.report({"step": done})
        return
    curves.flush()
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder), task.network, optimizer, step=done)
        card = replace(config.card, scores=scores, facts={**config.card.facts, "step": done})
        save(Path(folder) / MODEL, task.network, task=task.recipe.task, card=card)
        rt.report({"step": done}, checkpoint=rt.Checkpoint.from_directory(folder))
