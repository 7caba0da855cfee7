"""Measuring functions for all benchmarks: in fresh processes, in turns, and relative to the machine's fastest products.

Three rules make figures comparable. Things that are compared run in turns, A B A B, so that other processes on the
machine slow them down equally; each figure is a median with quartiles. Each measurement runs in a separate process, so
that caches and memory are not affected by earlier ones. And the ceiling is measured in the same turns: matrix products
with every library that PyTorch could use.
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
"""Does one step of the work."""

_BLOCK_SECONDS = 0.05
"""A shorter step is repeated within a turn, so that the overhead of the clock and the device's queue is negligible."""
_GRACE_SECONDS = 5.0
"""Seconds for a finished process to end, together with the compiler's helper processes."""


class ChildError(Exception):
    """A measurement without a result: out of time, out of memory, or a bug, whose trace is on stderr."""


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
    """Return ``function(*arguments)``, computed in a fresh process that is stopped after ``seconds``.

    Raises:
        ValueError: the function raised it.
        ChildError: there is no result for any other reason.
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
    """Run the steps in turns for about ``seconds``, in ``at_least`` turns; return the seconds per step in each turn."""
    repeats = {name: _repeats(step, device) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    start, turns = time.perf_counter(), 0
    while turns < at_least or time.perf_counter() - start < seconds:
        for name, step in steps.items():
            times[name].append(_seconds(step, repeats[name], device))
        turns += 1
    return times


def _repeats(step: Step, device: str) -> int:
    """Return how often to repeat the step in a turn; finding this number also warms the step up."""
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
    """A matrix product: its number of operations, and a function that computes it."""

    flops: int
    step: Step


def products(shapes: Sequence[tuple[int, int, int]], *, dtype: torch.dtype, device: str) -> dict[str, Product]:
    """Return products [N, C] × [C, D] of random numbers for each (N, C, D), with each available library.

    On the CPU, ``torch.mm`` uses MKL in float32; oneDNN is another library inside PyTorch, twice as fast on AMD.
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
    """Make a step and run it three times; return it, and the largest number of bytes in use.

    The figure includes weights, gradients, optimiser states, activations and temporary buffers. CUDA: memory that
    PyTorch has allocated. CPU: the maximum of the resident set minus the resident set before the step was made. This is
    valid only once per process, and available only on Linux (elsewhere None). It is the memory that a user's machine
    needs: it includes memory that the allocator keeps between uses and, for a compiled step, the loaded compiler.

    The maximum is read from /proc, because a process inherits the one in ``getrusage`` from its parent. The first run,
    which compiles the step and makes the optimiser states, is excluded if the kernel can reset the maximum.
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
    """Do a small training step, so that libraries that torch loads on first use are not counted for the model."""
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
    """Return the slowest operators of a warm step, excluding the operators they call: name, number of calls, share."""
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
    """Return a line that describes the machine."""
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
    """Return a Markdown table; the first column is aligned as text, the others as numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def replace_section(file: Path, name: str, text: str) -> None:
    """Replace the text between the marks ``<!-- name -->`` and ``<!-- /name -->`` in a file.

    Raises:
        ValueError: the file does not contain both marks once, in this order.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, opened, rest = file.read_text().partition(opening)
    old, closed, after = rest.partition(closing)
    if not opened or not closed or opening in old + after or closing in after:
        raise ValueError(f"{file}: expected one section between {opening} and {closing}; add the two marks to the file")
    file.write_text(f"{before}{opening}\n{text.strip()}\n{closing}{after}")
