"""What the first worker records of a run, and what workers tell each other. Whole runs are in ``test_run``."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import torch
import torch.distributed as dist
from torch import nn

from motion_encoder.model.heads import BatchNormAcrossWorkers
from motion_encoder.tasks.recipe import Recipe
from pipelines.training import mlflow_tracking
from pipelines.training.finite_check import FiniteCheck
from pipelines.training.mlflow_tracking import TrackingConfig, client
from pipelines.training.run_logger import RunLogger
from pipelines.training.train_step import StepResult
from pipelines.training.worker import Worker
from tests.pipelines.conftest import BATCH, CLIP_FRAMES, small_recipe

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """25 steps that are tracked."""

    recipe: Recipe
    tracking: TrackingConfig
    run_id: str

    def logger(self, start: int) -> RunLogger:
        return RunLogger(self.recipe, self.tracking, self.run_id, title="training", is_tty=False, start=start)

    def history(self, name: str) -> dict[int, float]:
        return {point.step: point.value for point in client(self.tracking).get_metric_history(self.run_id, name)}


@pytest.fixture
def run(tracking: TrackingConfig) -> Iterator[Run]:
    mlflow.set_tracking_uri(tracking.uri)
    with mlflow_tracking.run(tracking, "r", params={}, tags={}) as run_id:
        yield Run(small_recipe(steps=25), tracking, run_id)


def test_a_point_says_what_was_done_since_the_one_before(run: Run):
    with closing(run.logger(0)) as logger:
        for done in range(1, 26):
            logger.step(waited=0.25, took=0.5)
            if done in (4, 25):
                logger.point(done, {"loss": torch.tensor(float(done))})
    assert run.history("loss") == {4: 4.0, 25: 25.0}
    assert run.history("lr") == {step: run.recipe.optimisation.lr_at(step - 1) for step in (4, 25)}
    assert run.history("data_wait_share") == {4: 0.5, 25: 0.5}
    assert run.history("frames_per_s") == pytest.approx(dict.fromkeys((4, 25), BATCH * CLIP_FRAMES / 0.5))


def test_speed_after_a_restart_counts_only_what_was_done_since(run: Run):
    with closing(run.logger(8)) as logger:
        for _ in (9, 10):
            logger.step(waited=0.0, took=2.0)
        logger.point(10, {"loss": torch.tensor(1.0)})
    assert run.history("frames_per_s") == {10: pytest.approx(BATCH * CLIP_FRAMES / 2.0)}


def test_progress_is_told_in_lines_where_there_is_no_terminal(run: Run, capfd: pytest.CaptureFixture[str]):
    with closing(run.logger(20)) as logger:
        for _ in range(21, 26):
            logger.step(waited=0.0, took=1.0)
    assert "training: 25 of 25" in capfd.readouterr().err


def result(loss: float) -> StepResult:
    value = torch.tensor(loss)
    return StepResult(values={"loss": value}, is_finite=torch.isfinite(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_an_error_that_names_step_and_value(value: float):
    finite = FiniteCheck(CPU)
    finite.note(1, result(3.0))
    with pytest.raises(FloatingPointError, match=rf"step 2: .*not finite \(loss {value}\).*a lower learn"):
        finite.note(2, result(value))


def test_the_first_step_that_was_not_finite_is_named_however_late_the_device_is_asked(monkeypatch):
    finite = FiniteCheck(CPU)
    monkeypatch.setattr(FiniteCheck, "check", lambda self: None)  # as on a GPU, which is asked now and then
    for step, loss in enumerate([1.0, float("nan"), 5.0, float("inf")], start=1):
        finite.note(step, result(loss))
    monkeypatch.undo()
    with pytest.raises(FloatingPointError, match=r"step 2: .*\(loss nan\)"):
        finite.check()


def _talk(rank: int, rendezvous: str, answers: "multiprocessing.Queue[tuple[int, list]]") -> None:
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    worker = Worker(rank=rank, world_size=2)
    norm = nn.BatchNorm1d(2)
    norm(torch.full((3, 2), 10.0 * (rank + 1)))  # its running mean moves a tenth of the way: to 1 or 2
    local = torch.tensor([1.0, rank])
    total = worker.total(local)
    assert local.tolist() == [1.0, rank]
    worker.sync_buffers(norm)
    answers.put((rank, [total.tolist(), norm.running_mean.tolist()]))  # pyright: ignore[reportOptionalMemberAccess]
    dist.destroy_process_group()


def _in_two_processes(function: Callable[..., None], folder: Path) -> list[list]:
    """Run ``function(rank, rendezvous, answers)`` twice, and return the answers in the order of the ranks."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    rendezvous = f"file://{folder}/rendezvous"
    processes = [context.Process(target=function, args=(rank, rendezvous, answers)) for rank in (0, 1)]
    for process in processes:
        process.start()
    said = sorted(answers.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    return [answer for _, answer in said]


def test_workers_add_up_and_share_buffers(tmp_path: Path):
    """Without it the second worker would score another network than the one that is saved."""
    said = _in_two_processes(_talk, tmp_path)
    assert [total for total, _ in said] == [[2.0, 1.0], [2.0, 1.0]]
    assert [mean for _, mean in said] == [[1.0, 1.0], [1.0, 1.0]]


def test_a_single_worker_keeps_its_own_sum():
    local = torch.tensor([1.0, 2.0])
    assert Worker().total(local) is local
    assert Worker().is_first


ROWS, CHANNELS = (2, 5), 3
SAMPLES_BH = torch.randn(sum(ROWS), CHANNELS, generator=torch.Generator().manual_seed(0)) * 3 + 1
FACTORS_BH = torch.randn(sum(ROWS), CHANNELS, generator=torch.Generator().manual_seed(1))


def _normalise(rank: int, rendezvous: str, answers: "multiprocessing.Queue[tuple[int, list]]") -> None:
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    norm, rows = BatchNormAcrossWorkers(CHANNELS), slice(rank * ROWS[0], ROWS[0] + rank * ROWS[1])
    x_BH = SAMPLES_BH[rows].clone().requires_grad_(True)
    y_BH = norm(x_BH)
    (y_BH * FACTORS_BH[rows]).sum().backward()
    assert x_BH.grad is not None
    answers.put((rank, [each.tolist() for each in (y_BH, x_BH.grad, norm.running_mean, norm.running_var)]))  # pyright: ignore[reportOptionalMemberAccess]
    dist.destroy_process_group()


def test_batch_norm_over_two_workers_is_that_of_the_whole_batch(tmp_path: Path):
    """Values, gradients and running statistics, with unlike shares, against PyTorch's own in one process."""
    found = _in_two_processes(_normalise, tmp_path)
    norm = nn.BatchNorm1d(CHANNELS)
    x_BH = SAMPLES_BH.clone().requires_grad_(True)
    y_BH = norm(x_BH)
    (y_BH * FACTORS_BH).sum().backward()
    assert x_BH.grad is not None
    for place, expected in enumerate((y_BH, x_BH.grad)):
        joined = torch.cat([torch.tensor(answer[place]) for answer in found])
        torch.testing.assert_close(joined, expected.detach(), rtol=1e-4, atol=1e-5)
    for answer in found:
        torch.testing.assert_close(torch.tensor(answer[2]), norm.running_mean)
        torch.testing.assert_close(torch.tensor(answer[3]), norm.running_var, rtol=1e-5, atol=1e-6)


def test_batch_norm_in_one_process_is_pytorchs_own():
    ours, theirs = BatchNormAcrossWorkers(CHANNELS), nn.BatchNorm1d(CHANNELS)
    assert torch.equal(ours(SAMPLES_BH), theirs(SAMPLES_BH))
    assert torch.equal(ours.eval()(SAMPLES_BH), theirs.eval()(SAMPLES_BH))
