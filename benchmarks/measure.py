"""How we measure: in fresh processes, in turns, against what the machine can do. Shared by every benchmark.

Three habits make a figure comparable. Things that are compared are run in turns, A B A B, so that a neighbour on the
same machine slows both alike, and the figure is a median with its quartiles. What is measured runs in a process of its
own, so that nothing before it has warmed or filled anything. And the ceiling is measured in the same turns: matrix
products through every library that PyTorch could have called.
"""

import math
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Step = Callable[[], object]
"""Does the work once."""

_BLOCK_SECONDS = 0.05
"""A shorter step is repeated within a turn, so that the clock and the device's queue do not show."""
_GRACE_SECONDS = 5.0
"""For a process that has done its work: the compiler's helpers end with it."""


class ChildError(Exception):
    """A measurement that came to no result: out of time, out of memory, or a bug whose trace is on stderr."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one value or more."""
        low, median, high = np.percentile(values, [25, 50, 75]).tolist()
        return cls(low=low, median=median, high=high)


def in_child(function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """Return ``function(*arguments)``, computed in a fresh process that is ended after ``seconds``.

    Raises:
        ValueError: the function raised it.
        ChildError: no result, for any other reason.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise ChildError(f"stopped after {seconds:.0f} s")
        outcome = receiver.recv()
        process.join(timeout=_GRACE_SECONDS)
    except EOFError:
        process.join()
        raise ChildError(f"its process ended with status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if isinstance(outcome, ValueError):
        raise outcome
    return outcome


def _send(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        outcome = function(*arguments)
    except ValueError as error:
        outcome = error
    sender.send(outcome)


def interleave(steps: Mapping[str, Step], *, device: str, seconds: float, at_least: int = 3) -> dict[str, list[float]]:
    """Run the steps in turns for about ``seconds``, and ``at_least`` so many; return seconds per step, by turn."""
    repeats = {name: _repeats(step, device) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    start, turns = time.perf_counter(), 0
    while turns < at_least or time.perf_counter() - start < seconds:
        for name, step in steps.items():
            times[name].append(_seconds(step, repeats[name], device))
        turns += 1
    return times


def _repeats(step: Step, device: str) -> int:
    """How often the step fits into a block; the runs that find out warm it up."""
    took = _seconds(step, 1, device)
    if took < _BLOCK_SECONDS:
        took = _seconds(step, 3, device)
    return math.ceil(_BLOCK_SECONDS / took)


def _seconds(step: Step, repeats: int, device: str) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronize(device)
    return (time.perf_counter() - start) / repeats


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product: what it costs, and how to do it."""

    flops: int
    step: Step


def products(shapes: Sequence[tuple[int, int, int]], *, dtype: torch.dtype, device: str) -> dict[str, Product]:
    """Return products [N, C] × [C, D] of random numbers for each (N, C, D), by each library that can do them.

    On the CPU ``torch.mm`` is MKL in float32; oneDNN is another library in the same PyTorch, on AMD twice as fast.
    """
    made = {}
    for rows, inner, columns in shapes:
        a_NC = torch.randn(rows, inner, device=device).to(dtype)
        b_DC = torch.randn(columns, inner, device=device).to(dtype)
        flops, shape = 2 * rows * inner * columns, f"{rows}×{inner}×{columns}"
        made[f"mm {shape}"] = Product(flops=flops, step=lambda a=a_NC, b=b_DC: torch.mm(a, b.t()))
        if device == "cpu" and torch.backends.mkldnn.is_available():
            made[f"oneDNN {shape}"] = Product(flops=flops, step=lambda a=a_NC, b=b_DC: _onednn(a, b))
    return made


def _onednn(a_NC: torch.Tensor, b_DC: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(a_NC, b_DC, None, "none", [], "")


def peak_memory(make_step: Callable[[], Step], device: str) -> tuple[Step, int | None]:
    """Make a step and run it three times; return it, and the most bytes that were in use for it at once.

    All that it holds is in the figure: weights, gradients, the optimiser's state, activations, scratch. CUDA: what
    PyTorch has allocated. CPU: the high-water mark of the resident set, less the resident set before the step was made;
    right only once per process, and known only on Linux (None elsewhere). It is what a user's machine has to have: it
    counts what the allocator keeps between uses, and for a compiled step also the compiler, which stays loaded.

    The mark is read from /proc, not from ``getrusage``, whose figure a process inherits from the one that started it.
    The first run, which compiles and makes the optimiser's state, does not count where the kernel can forget the mark.
    """
    _load_libraries(device)
    before = _memory(device, peak=False)
    step = make_step()
    step()
    _forget_peak(device)
    for _ in range(2):
        step()
    peak = _memory(device, peak=True)
    return step, None if peak is None or before is None else peak - before


def _load_libraries(device: str) -> None:
    """Do a training step of nothing: what torch loads on first use belongs to no model."""
    layer = nn.Linear(256, 256, device=device)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.ones(256, 256, device=device)).sum().backward()
    optimizer.step()
    for product in products([(256, 256, 256)], dtype=torch.float32, device=device).values():
        product.step()


def _memory(device: str, *, peak: bool) -> int | None:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024


def _forget_peak(device: str) -> None:
    clear = Path("/proc/self/clear_refs")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif os.access(clear, os.W_OK):
        clear.write_text("5")


def top_operators(step: Step, device: str, count: int) -> list[tuple[str, int, float]]:
    """Return the operators that take most of a warm step's time, without those they call: name, calls, share."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        _synchronize(device)
    times = {event.key: (_own_time(event, device), event.count) for event in profiler.key_averages()}
    total = sum(took for took, _ in times.values())
    slowest_first = sorted(times.items(), key=lambda item: -item[1][0])
    return [(name, calls, took / total) for name, (took, calls) in slowest_first[:count]]


def _own_time(event: Any, device: str) -> float:
    return event.self_device_time_total if device == "cuda" else event.self_cpu_time_total


def machine(device: str) -> str:
    """Return in one line what was measured on."""
    cpu = f"{_cpu_model()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    facts = [cpu, f"torch {torch.__version__}", f"Python {platform.python_version()}"]
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts.insert(0, f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return "; ".join(facts)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def replace_section(file: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a file.

    Raises:
        ValueError: the file does not have both marks once, in this order.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, opened, rest = file.read_text().partition(opening)
    old, closed, after = rest.partition(closing)
    if not opened or not closed or opening in old + after or closing in after:
        raise ValueError(f"{file}: expected one section between {opening} and {closing}; put the two marks into it")
    file.write_text(f"{before}{opening}\n{text.strip()}\n{closing}{after}")
