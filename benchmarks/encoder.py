"""Measure the encoder: speed, memory, and its speed relative to the fastest matrix products of the machine.

    python -m benchmarks.encoder --quick               # one minute, to check that it works
    python -m benchmarks.encoder --peer DIR --write    # all cases and the published code; writes README.md

Cases differ from a base case (243 frames; float32 on the CPU, bfloat16 on CUDA) in one respect: job, precision,
compilation, checkpointing, or length. README.md in this folder explains the figures. Cases for which the time is not
sufficient are listed below the tables. On CUDA the batch is doubled until it saturates the device.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.encoder_flops import check_flops
from benchmarks.encoder_report import Report, label, operators_table
from benchmarks.encoder_step import (
    Case,
    Comparison,
    Dtype,
    Mode,
    Result,
    compare,
    measure_case,
    measure_times,
    profile,
    saturate,
)
from benchmarks.measure import ChildError, in_child, machine, replace_section
from benchmarks.published import published_class
from motion_encoder import SIZES
from pipelines.runtime.cli import parse

log = logging.getLogger(__name__)

README = Path(__file__).with_name("README.md")
_MODES: dict[str, tuple[Mode, ...]] = {
    "cpu": ("default",),
    "cuda": ("default", "max-autotune-no-cudagraphs", "reduce-overhead"),
}
_MANY_CLIPS = 4
"""Number of clips with which the search for a saturating batch starts."""


@dataclass(frozen=True, kw_only=True)
class EncoderBenchmark:
    """What to measure, and for how long."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to measure on; auto uses CUDA if there is a GPU."""
    sizes: tuple[Literal["motionbert", "motionbert_lite", "tiny"], ...] = ("motionbert", "motionbert_lite")
    """Sizes of the encoder; the cost curve is measured on the last one."""
    clips: int | None = None
    """Number of clips per batch in the base case. By default 1 on the CPU, and on CUDA as many as saturate the GPU."""
    frames: int | None = None
    """Number of frames per clip in the base case, 9 to 243. By default 243, or 27 with --quick."""
    dtype: Dtype | None = None
    """Precision in the base case. By default float32 on the CPU, and bfloat16 on CUDA."""
    peer: Path | None = None
    """Folder with a checkout of the published code, to compare with. By default nothing is compared."""
    seconds: float | None = None
    """Seconds to measure each figure, after a warm-up; at least three turns are run. By default 5, or 0.5 with
    --quick."""
    minutes: float | None = None
    """Minutes for all cases; cases that are left then are listed, not measured. By default 10, or 1 with --quick."""
    minutes_per_case: float = 4.0
    """Seconds after which a case is stopped, including compilation."""
    quick: bool = False
    """Run a few short cases, to check that everything works. The figures are not accurate."""
    profile: bool = False
    """Instead of measuring, print the operators that take most of the time of a training step of the base case."""
    mode: Mode = "eager"
    """Code to profile with --profile: eager, or a mode of torch.compile."""
    write: bool = False
    """Write the tables to benchmarks/README.md, in place of those of the same device (CPU or CUDA)."""

    def __post_init__(self) -> None:
        for name in ("clips", "seconds", "minutes", "minutes_per_case"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')}: expected a positive number, found {value}")
        if self.frames is not None and not 9 <= self.frames <= 243:
            raise ValueError(f"--frames: expected 9 to 243, found {self.frames}")
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"--sizes: expected different names of {', '.join(SIZES)}, found {list(self.sizes)}")
        if self.write and (self.quick or self.profile):
            raise ValueError("--write: expected a full measurement; leave out --quick and --profile")
        if self.mode != "eager" and not self.profile:
            raise ValueError("--mode: only has an effect with --profile; measurements cover all modes")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: expected a GPU that PyTorch can use, found none")

    @property
    def machine_kind(self) -> Literal["cpu", "cuda"]:
        """The device that is measured."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    @property
    def step_seconds(self) -> float:
        """Seconds to measure each figure."""
        return self.seconds or (0.5 if self.quick else 5.0)

    def base(self, size: str) -> Case:
        """Return the base case; on CUDA its number of clips is still to be found."""
        device = self.machine_kind
        return Case(
            size=size,
            clips=self.clips or (1 if device == "cpu" else _MANY_CLIPS),
            frames=self.frames or (27 if self.quick else 243),
            dtype=self.dtype or ("float32" if device == "cpu" else "bfloat16"),
            device=device,
        )


@dataclass(kw_only=True)
class Clock:
    """Runs each measurement in a separate process while there is time, and records those without a result."""

    end: float
    box: float
    missing: list[str] = field(default_factory=list)

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any | None:
        """Return the result of the function; None if it failed, which is recorded.

        Raises:
            ValueError: the function raised it, so an option is wrong, and all further measurements would fail.
        """
        start = time.monotonic()
        left = self.end - start
        if left <= 0:
            self.missing.append(f"{name}: not run, the time was up")
            return None
        try:
            outcome = in_child(function, *arguments, seconds=min(left, self.box))
        except ChildError as error:
            self.missing.append(f"{name}: {error}")
            log.warning("%s: %s", name, error)
            return None
        log.info("%s: %.0f s", name, time.monotonic() - start)
        return outcome


def run(config: EncoderBenchmark) -> Report:
    """Measure all cases, the most informative ones first.

    Raises:
        ValueError: ``peer`` is not a checkout of the published code, or its outputs differ.
    """
    if config.peer:
        published_class(config.peer)
    minutes = config.minutes or (1.0 if config.quick else 10.0)
    clock = Clock(end=time.monotonic() + 60 * minutes, box=60 * config.minutes_per_case)
    results: list[Result] = []
    comparisons: list[Comparison] = []
    bests: list[Case] = []
    for size in config.sizes:
        base = _with_clips(config, clock, config.base(size))
        check_flops(base.config, clips=1, frames=base.frames, job="forward")
        check_flops(base.config, clips=1, frames=base.frames, job="train")
        found = _measure(config, clock, candidates(base))
        bests.append(max(found, key=lambda result: result.clips_per_s).case if found else base)
        results += found
        comparisons += _compare(config, clock, bests[-1], results)
    for best in bests:
        results += _measure(config, clock, variations(best, quick=config.quick))
        comparisons += _compare(config, clock, replace(best, job="forward"), results)
    curve = clock.run("cost curve", measure_times, curve_cases(bests[-1]), config.step_seconds / 2) or []
    return Report(
        machine=machine(config.machine_kind),
        results=sorted(results, key=lambda result: config.sizes.index(result.case.size)),
        comparisons=sorted(comparisons, key=lambda each: config.sizes.index(each.peer.case.size)),
        curve=curve,
        missing=clock.missing,
    )


def _with_clips(config: EncoderBenchmark, clock: Clock, base: Case) -> Case:
    if config.clips or base.device == "cpu":
        return base
    found = clock.run(f"{base.size}: batch that saturates", saturate, base, config.step_seconds / 5)
    return max(found, key=lambda result: result.clips_per_s).case if found else base


def candidates(base: Case) -> list[Case]:
    """Return the cases to choose from; the fastest one is compared with the published code, and varied."""
    modes = _MODES["cuda"][:2] if base.device == "cuda" else ()
    return [base, *(replace(base, mode=mode) for mode in modes)]


def variations(best: Case, *, quick: bool) -> list[Case]:
    """Return cases that differ from the best one in one respect, the most informative ones first."""
    eager = replace(best, mode="eager")
    inference, recomputed = replace(best, job="forward"), replace(eager, recompute=True)
    if quick:
        return [inference, recomputed]
    other_dtype = replace(best, dtype="bfloat16" if best.dtype == "float32" else "float32")
    shorter = [replace(best, frames=best.frames // by, clips=best.clips * by) for by in (3, 9)]
    compiled = [replace(eager, mode=mode) for mode in _MODES[best.device]]
    known = candidates(eager)
    return [inference, recomputed, other_dtype, *shorter, *(case for case in compiled if case not in known)]


def curve_cases(base: Case) -> list[Case]:
    """Return cases that differ from the base case only in frames, only in joints, or only in clips."""
    middle = replace(base, mode="eager", frames=base.frames // 3, clips=max(1, base.clips // 4))
    cases = [replace(middle, frames=base.frames // by) for by in (9, 3, 1)]
    cases += [replace(middle, joints=joints) for joints in (9, 17, 34)]
    cases += [replace(middle, clips=middle.clips * by) for by in (1, 2, 4)]
    return list(dict.fromkeys(cases))


def _measure(config: EncoderBenchmark, clock: Clock, cases: Sequence[Case]) -> list[Result]:
    found = [clock.run(label(case), measure_case, case, config.step_seconds) for case in cases]
    return [result for result in found if result]


def _compare(config: EncoderBenchmark, clock: Clock, best: Case, results: Sequence[Result]) -> list[Comparison]:
    """Compare the published code (float32, eager) with ours in the same mode, and with ours in its best mode."""
    if config.peer is None:
        return []
    alike = replace(best, dtype="float32", mode="eager")
    cases = list(dict.fromkeys([replace(alike, peer=config.peer), alike, best]))
    found = clock.run(f"in turns: {', '.join(map(label, cases))}", compare, cases, config.step_seconds)
    return [_with_memory(found, clock, results)] if found else []


def _with_memory(found: Comparison, clock: Clock, results: Sequence[Result]) -> Comparison:
    """Add the memory of each side, measured in separate processes."""

    def with_memory(result: Result) -> Result:
        known = [each for each in results if each.case == result.case]
        measured = known[0] if known else clock.run(f"memory: {label(result.case)}", measure_case, result.case, 0.0)
        return replace(result, peak_bytes=measured.peak_bytes) if measured else result

    return replace(found, peer=with_memory(found.peer), ours=tuple(map(with_memory, found.ours)))


def run_profile(config: EncoderBenchmark) -> str:
    """Return the slowest operators of a training step for each size, and for the published code if there is a peer."""
    tables = []
    for size in config.sizes:
        ours = replace(config.base(size), mode=config.mode)
        cases = [ours] + ([replace(ours, peer=config.peer, mode="eager")] if config.peer else [])
        tables += [
            operators_table(case, in_child(profile, case, seconds=60 * config.minutes_per_case)) for case in cases
        ]
    return "\n\n".join(tables)


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write; return the exit status: 1 if a case failed, 2 if an option is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = parse(EncoderBenchmark, __doc__ or "", arguments)
        report = None if config.profile else run(config)
        text = report.markdown() if report else run_profile(config)
        sys.stdout.write(f"{text}\n")
        if config.write:
            replace_section(README, f"encoder: {config.machine_kind}", text)
    except (ValueError, ChildError) as error:
        log.error("error: %s", error)
        return 2 if isinstance(error, ValueError) else 1
    return 1 if report and report.missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
