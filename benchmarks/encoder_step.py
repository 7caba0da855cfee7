"""One case of the benchmark: a model (ours or the published one), a batch and an optimiser, and the step to repeat.

The measuring functions run in a child process (``measure.in_child``). Both models get the same clips and the same loss:
the three published terms of non-zero weight. Otherwise each side has its own training loop: ours uses the fused AdamW
and frees the gradients after the step; the published one uses torch's default AdamW and frees them after the next
forward pass.

Shapes: B clips, T frames, J joints, C channels in.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.encoder_flops import Job, model_flops
from benchmarks.measure import Spread, Step, interleave, peak_memory, products, top_operators
from benchmarks.published import largest_difference, published_model
from motion_encoder import SIZES, DSTformer, DSTformerConfig
from motion_encoder.losses import LossWeights, mpjpe, n_mpjpe, velocity

Dtype = Literal["float32", "bfloat16"]
Mode = Literal["eager", "default", "reduce-overhead", "max-autotune-no-cudagraphs"]

_LR, _WEIGHT_DECAY = 2e-4, 0.01
_WEIGHTS = LossWeights()
_SATURATED = 1.03
"""Doubling the clips has to increase the clips per second by more than this factor."""
_PAIR_TURNS = 5
_OPERATORS = 15


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case of the benchmark."""

    size: str
    """Name of the size in ``motion_encoder.SIZES``."""
    job: Job = "train"
    """``forward``: inference; ``train``: forward, loss, backward and optimiser."""
    clips: int
    frames: int
    joints: int = 17
    dtype: Dtype = "float32"
    """``bfloat16``: autocast; weights, gradients and optimiser stay in float32."""
    mode: Mode = "eager"
    """``eager``, or a mode of ``torch.compile``."""
    recompute: bool = False
    """Whether activation checkpointing of each block is used."""
    device: str
    peer: Path | None = None
    """Checkout of the published code, if the case is the published model; else None."""

    @property
    def config(self) -> DSTformerConfig:
        """The configuration of the model."""
        return replace(DSTformerConfig.of(SIZES[self.size]), num_joints=self.joints)

    @property
    def flops(self) -> int:
        """Number of operations of the model per step."""
        return model_flops(self.config, clips=self.clips, frames=self.frames, job=self.job)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of a case; None for those that were not measured."""

    case: Case
    peak_bytes: int | None = None
    """Largest memory in use, in bytes."""
    seconds: Spread | None = None
    """Time of a step, in seconds."""
    ceiling_share: Spread | None = None
    """Operations per second of the model, divided by those of the fastest matrix product in the same turn."""
    product_rates: tuple[tuple[str, float], ...] = ()
    """Operations per second of the matrix products, the fastest first."""

    @property
    def clips_per_s(self) -> float:
        """Clips per second; 0 if no time was measured."""
        return self.case.clips / self.seconds.median if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Our cases, measured in turns with the published code."""

    peer: Result
    ours: tuple[Result, ...]
    ratios: tuple[Spread, ...]
    """Speed of each of our cases, divided by that of the published code in the same turn."""
    largest_difference: float
    """Largest difference between the outputs, for the same weights."""


def measure_case(case: Case, seconds: float) -> Result:
    """Measure memory and then, for about ``seconds``, time; with 0 seconds only memory. Call it in a fresh process."""
    step, peak = peak_memory(partial(make_step, case), case.device)
    result = _against_ceiling(case, step, seconds) if seconds else Result(case=case)
    return replace(result, peak_bytes=peak)


def measure_times(cases: Sequence[Case], seconds: float) -> list[Result]:
    """Measure the time of several cases, one after the other, each relative to the ceiling."""
    return [_measure_time(case, seconds) for case in cases]


def saturate(case: Case, seconds: float) -> list[Result]:
    """Double the clips until the clips per second hardly increase, or the memory of the device is full."""
    results: list[Result] = []
    while len(results) < 2 or results[-1].clips_per_s > _SATURATED * results[-2].clips_per_s:
        try:
            results.append(_measure_time(case, seconds))
        except torch.OutOfMemoryError:
            break
        case = replace(case, clips=2 * case.clips)
    return results


def _measure_time(case: Case, seconds: float) -> Result:
    _clean_up(case.device)
    step = make_step(case)
    step()
    return _against_ceiling(case, step, seconds)


def _against_ceiling(case: Case, step: Step, seconds: float) -> Result:
    """Measure the warm step in turns with matrix products of its own shapes, and with a square one."""
    tokens, channels = case.clips * case.frames * case.joints, case.config.dim_feat
    hidden, square = int(channels * case.config.mlp_ratio), 8192 if case.device == "cuda" else 2048
    shapes = [(tokens, channels, 3 * channels), (tokens, channels, hidden), (square, square, square)]
    ceilings = products(shapes, dtype=getattr(torch, case.dtype), device=case.device)
    steps = {"step": step} | {name: product.step for name, product in ceilings.items()}
    times = interleave(steps, device=case.device, seconds=seconds)
    rates = {name: product.flops / Spread.of(times[name]).median for name, product in ceilings.items()}
    fastest_first = sorted(rates, key=lambda name: -rates[name])
    best = fastest_first[0]
    shares = [
        (case.flops / of_step) / (ceilings[best].flops / of_product)
        for of_step, of_product in zip(times["step"], times[best], strict=True)
    ]
    return Result(
        case=case,
        seconds=Spread.of(times["step"]),
        ceiling_share=Spread.of(shares),
        product_rates=tuple((name, rates[name]) for name in fastest_first),
    )


def compare(cases: Sequence[Case], seconds: float) -> Comparison:
    """Run the first case (the published code) and our cases in turns, with fewer clips if memory is too small for all.

    Raises:
        ValueError: the folder is not a checkout of the published code, or its outputs differ from ours.
    """
    peer = cases[0]
    assert peer.peer is not None
    difference = largest_difference(peer.peer, peer.config, frames=peer.frames, device=peer.device)
    while not (steps := _warm_steps(cases)):
        cases = [replace(case, clips=case.clips // 2) for case in cases]
    named = {str(number): step for number, step in enumerate(steps)}
    times = list(interleave(named, device=peer.device, seconds=seconds, at_least=_PAIR_TURNS).values())
    results = [Result(case=case, seconds=Spread.of(each)) for case, each in zip(cases, times, strict=True)]
    ratios = [[a / b for a, b in zip(times[0], ours, strict=True)] for ours in times[1:]]
    return Comparison(
        peer=results[0],
        ours=tuple(results[1:]),
        ratios=tuple(Spread.of(each) for each in ratios),
        largest_difference=difference,
    )


def _warm_steps(cases: Sequence[Case]) -> list[Step]:
    """Return the steps of the cases; none if they do not fit into memory, or PyTorch would free its cache each turn."""
    steps: list[Step] = []
    _clean_up(cases[0].device)
    try:
        for case in cases:
            steps.append(make_step(case))
            steps[-1]()
        if cases[0].device == "cuda":
            for step in steps:
                step()
            if torch.cuda.memory_stats()["num_alloc_retries"]:
                raise torch.OutOfMemoryError
    except torch.OutOfMemoryError:
        if cases[0].clips == 1:
            raise
        return []
    return steps


def profile(case: Case) -> list[tuple[str, int, float]]:
    """Return the operators that take most of the step's time: name, number of calls, share of the time."""
    step = make_step(case)
    for _ in range(2):
        step()
    return top_operators(step, case.device, _OPERATORS)


def _clean_up(device: str) -> None:
    gc.collect()
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_accumulated_memory_stats()


def make_step(case: Case) -> Step:
    """Build model, batch and optimiser; return a function that does one step."""
    model = _model(case).to(case.device)
    x_BTJC, target_BTJ3 = _batch(case)
    forward = partial(_forward(case, model), x_BTJC)
    if case.job == "forward":
        model.eval()
        return torch.inference_mode()(forward)
    published = case.peer is not None
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY, fused=None if published else True
    )

    def train() -> None:
        output_BTJ3 = forward()
        if published:
            optimizer.zero_grad()
        _loss(output_BTJ3, target_BTJ3).backward()
        optimizer.step()
        if not published:
            optimizer.zero_grad()

    return train


def _model(case: Case) -> nn.Module:
    if case.peer is not None:
        return published_model(case.peer, case.config)
    model = DSTformer(case.config, torch.Generator().manual_seed(0))
    model.activation_checkpointing = case.recompute
    return model


def _forward(case: Case, model: nn.Module) -> Callable[[Tensor], Tensor]:
    network = model if case.mode == "eager" else torch.compile(model, mode=case.mode, dynamic=False)

    def forward(x_BTJC: Tensor) -> Tensor:
        if case.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(case.device, torch.bfloat16) if case.dtype == "bfloat16" else nullcontext():
            return network(x_BTJC)

    return forward


def _batch(case: Case) -> tuple[Tensor, Tensor]:
    """Return random clips with confidence, and random targets."""
    random = torch.Generator().manual_seed(1)
    shape = (case.clips, case.frames, case.joints, 3)
    x_BTJC, target_BTJ3 = torch.randn(shape, generator=random), torch.randn(shape, generator=random)
    x_BTJC[..., 2].sigmoid_()
    return x_BTJC.to(case.device), target_BTJ3.to(case.device)


def _loss(output_BTJ3: Tensor, target_BTJ3: Tensor) -> Tensor:
    terms = (mpjpe, _WEIGHTS.mpjpe), (n_mpjpe, _WEIGHTS.n_mpjpe), (velocity, _WEIGHTS.velocity)
    means = [weight * term(output_BTJ3.float(), target_BTJ3).mean() for term, weight in terms]
    return torch.stack(means).sum()
