"""What the training loop says of itself, and workers to each other. Whole runs are in ``test_runs``."""

import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import torch
import torch.distributed as dist
from torch import nn

from motion_encoder import ModelCard
from pipelines.training import mlflow_tracking as tracked
from pipelines.training.compute import ComputeConfig
from pipelines.training.loop import Curves, LoopConfig
from pipelines.training.mlflow_tracking import TrackingConfig, client
from pipelines.training.worker import Worker
from tests.pipelines.conftest import BATCH, CLIP_FRAMES, small_recipe


@pytest.fixture
def loop(tracking: TrackingConfig, tmp_path: Path) -> Iterator[LoopConfig]:
    """25 steps, a point of the curves every 10, a checkpoint every 4."""
    mlflow.set_tracking_uri(tracking.uri)
    with tracked.run(tracking, "r", params={}, tags={}) as run_id:
        yield LoopConfig(
            recipe=small_recipe(steps=25),
            init=None,
            store="unused",
            cache_folder=str(tmp_path),
            tracking=tracking,
            run_id=run_id,
            title="training",
            card=ModelCard(),
            checkpoint_every=4,
            compute=ComputeConfig(),
            on_terminal=False,
            log_every=10,
        )


def history(loop: LoopConfig, name: str) -> dict[int, float]:
    return {point.step: point.value for point in client(loop.tracking).get_metric_history(loop.run_id, name)}


def test_curves_have_points_now_and_then_before_checkpoints_and_at_the_end(loop: LoopConfig):
    with closing(Curves(loop, 0)) as curves:
        for done in range(1, 26):
            curves.step(done, {"loss": torch.tensor(float(done))}, waited=0.25, took=0.5)
    steps = [4, 8, 10, 12, 16, 20, 24, 25]
    assert history(loop, "loss") == {step: float(step) for step in steps}
    assert history(loop, "lr") == {step: loop.recipe.optimisation.lr_at(step - 1) for step in steps}
    assert set(history(loop, "data_wait_share").values()) == {0.5}
    assert list(history(loop, "frames_per_s").values()) == pytest.approx([BATCH * CLIP_FRAMES / 0.5] * len(steps))


def test_speed_after_a_restart_counts_only_what_was_done_since(loop: LoopConfig):
    with closing(Curves(loop, 8)) as curves:
        for done in (9, 10):
            curves.step(done, {"loss": torch.tensor(1.0)}, waited=0.0, took=2.0)
    assert history(loop, "frames_per_s") == {10: pytest.approx(BATCH * CLIP_FRAMES / 2.0)}


def test_progress_is_told_in_lines_where_nobody_watches(loop: LoopConfig, capfd: pytest.CaptureFixture[str]):
    with closing(Curves(loop, 20)) as curves:
        for done in range(21, 26):
            curves.step(done, {"loss": torch.tensor(1.0)}, waited=0.0, took=1.0)
    assert "training: 25 of 25" in capfd.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_checkpoint_follows_a_value_that_is_not_finite(loop: LoopConfig, value: float):
    with closing(Curves(loop, 0)) as curves:
        curves.step(3, {"loss": torch.tensor(value)}, waited=0.0, took=1.0)  # no point here: not looked at
        with pytest.raises(FloatingPointError, match=r"step 4: .*no longer finite.*lower optimisation\.lr"):
            curves.step(4, {"loss": torch.tensor(1.0), "grad_norm": torch.tensor(value)}, waited=0.0, took=1.0)


def _talk(rank: int, rendezvous: str, answers: "multiprocessing.Queue[tuple[int, list[float], list[float]]]") -> None:
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    worker = Worker(rank=rank, world_size=2)
    norm = nn.BatchNorm1d(2)
    norm(torch.full((3, 2), 10.0 * (rank + 1)))  # its running mean moves a tenth of the way: to 1 or 2
    local = torch.tensor([1.0, rank])
    total = worker.total(local)
    assert local.tolist() == [1.0, rank]
    worker.follow_first(norm)
    answers.put((rank, total.tolist(), norm.running_mean.tolist()))  # pyright: ignore[reportOptionalMemberAccess]
    dist.destroy_process_group()


def test_workers_add_up_and_follow_the_first(tmp_path: Path):
    """Else the second worker would score another network than the one that is saved."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    rendezvous = f"file://{tmp_path}/rendezvous"
    processes = [context.Process(target=_talk, args=(rank, rendezvous, answers)) for rank in (0, 1)]
    for process in processes:
        process.start()
    said = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [total for _, total, _ in said] == [[2.0, 1.0], [2.0, 1.0]]
    assert [mean for _, _, mean in said] == [[1.0, 1.0], [1.0, 1.0]]


def test_a_worker_alone_asks_nobody():
    local = torch.tensor([1.0, 2.0])
    assert Worker().total(local) is local
    assert Worker().is_first
