"""Measure the cost of the sandbox in which readers run: start, replacement, per recording, and per returned MB."""

from dataclasses import dataclass

from benchmarks.made_reader import MakingReader
from benchmarks.measure import Spread, interleave
from datasets.assembly.path_rules import CMU
from datasets.extraction.reading import read_sequences
from datasets.sandbox import calls
from datasets.sequences import Recording

LARGE = 100 * 10**6
"""Bytes of the arrays of a large recording."""


@dataclass(frozen=True, kw_only=True)
class SandboxCost:
    """Seconds that an operation takes in the sandbox."""

    work: str
    seconds: Spread


def measure_sandbox(seconds: float) -> list[SandboxCost]:
    """Measure the operations alternately. Runs in a new process."""
    steps = {
        "start, once a worker": _start,
        "replace after a crash": lambda: _read("crash"),
        "a small recording": lambda: _read("0"),
        "100 MB of sequences": lambda: _read(str(LARGE)),
    }
    times = interleave(steps, device="cpu", seconds=seconds, at_least=5)
    calls.close()
    return [SandboxCost(work=work, seconds=Spread.of(each)) for work, each in times.items()]


def _start() -> None:
    calls.close()
    _read("0")


def _read(what: str) -> None:
    for _ in read_sequences(Recording(path=what, reader="bvh", source=CMU), MakingReader()):
        pass
