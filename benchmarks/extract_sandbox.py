"""What the sandbox in which readers run costs: to start, to replace, per recording, and per MB that comes back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import Spread, interleave
from datasets.assembly.path_rules import CMU
from datasets.extraction.reading import read_sequences
from datasets.sandbox import calls
from datasets.sequences import File, MotionSequence, Recording

LARGE = 100 * 10**6
"""Bytes of a large recording's arrays."""
_BYTES_PER_FRAME = 17 * (3 + 1) * 4


@dataclass(frozen=True, kw_only=True)
class SandboxCost:
    """Seconds that a piece of work takes through the sandbox."""

    work: str
    seconds: Spread


class MakingReader:
    """Makes a sequence of so many bytes, or ends its process: the cost is that of the way back alone."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Find nothing."""
        return []

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence."""
        if recording.path == "crash":
            raise SystemExit
        frames = int(recording.path) // _BYTES_PER_FRAME + 2
        yield MotionSequence(
            source=CMU,
            sequence_id="made",
            subject="made",
            fps=30.0,
            keypoints_3d_TJC=np.zeros((frames, 17, 3), np.float32),
            confidence_TJ=np.zeros((frames, 17), np.float32),
        )


def measure_sandbox(seconds: float) -> list[SandboxCost]:
    """Measure each piece of work in turns. In a fresh process."""
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
