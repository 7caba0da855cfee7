"""Limits on time and memory for reading one recording, and the errors that tell which limit was exceeded."""

from dataclasses import dataclass

MB, GB = 10**6, 10**9


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """Limits on reading one recording; one that exceeds them is quarantined.

    Time is the wait for the next sequence, so that recordings of any length can be streamed. 120 s is more than a file
    system needs to report a network failure (s3fs: five tries of 15 s), which is retried and not quarantined. 2 s per
    MB is four times what the slowest reader needs (ui_prmd_kinect, 1.9 MB/s; most read 5 to 100 MB/s).

    Memory is address space in addition to what the process starts with. A file that is read as a whole and contains
    many small values takes up to 8 times its size as Python objects; all others take less than 1 GB, whatever their
    size.
    """

    seconds: float = 120.0
    """Longest time in seconds that reading the next sequence of a recording may take."""
    seconds_per_mb: float = 2.0
    """Seconds that are added to the time limit for each MB of the recording's files, since some formats are read
    completely before the first sequence. Raise it for a slow disk or network."""
    memory_gb: float = 4.0
    """Most memory in GB that reading one recording may take."""
    memory_per_byte: float = 8.0
    """Bytes that are added to the memory limit for each byte of the recording's files."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_gb"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a positive number, found {getattr(self, name)}")
        for name in ("seconds_per_mb", "memory_per_byte"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a number from 0, found {getattr(self, name)}")

    def of(self, size: int) -> "Budget":
        """Return the limits for a recording of ``size`` bytes."""
        return Budget(
            seconds=self.seconds + self.seconds_per_mb * size / MB,
            memory=int(self.memory_gb * GB + self.memory_per_byte * size),
        )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits on one call in the sandbox."""

    seconds: float
    """Longest wait for the next result, in seconds."""
    memory: int
    """Bytes of address space in addition to what the process starts with."""


class SandboxError(Exception):
    """The process that reads a file exceeded a limit or died; the message tells the limit and the fix."""


class TimeLimitError(SandboxError):
    """No result within the time limit."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(
            f"time limit: expected the next sequence within {budget.seconds:.6g} s, found none. Fetch the file again; "
            "if it is complete and its disk or network is slow, raise --limits.seconds or --limits.seconds-per-mb."
        )


class MemoryLimitError(SandboxError):
    """More memory than the limit, or than the machine has."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(
            f"memory limit: expected the reader to need at most {budget.memory / GB:.3g} GB, found that it needs more. "
            "Fetch the file again; if it is complete and the machine has more memory, raise --limits.memory-gb."
        )


class CrashError(SandboxError):
    """The process died, or sent invalid answers."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"crash: expected the reader to read the file or to refuse it, found {found}. Fetch the file again; if it "
            "is complete, please report this."
        )


class FunctionError(SandboxError):
    """The function in the sandbox raised an error that it should have handled."""

    def __init__(self, trace: str) -> None:
        last_line = trace.strip().rpartition("\n")[2]
        super().__init__(f"a bug, please report: {last_line}")
        self.trace = trace
