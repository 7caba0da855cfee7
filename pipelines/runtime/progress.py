"""Progress of long work, also from inside a Ray worker: a progress bar on a terminal, log lines otherwise."""

import logging
import sys
from typing import Protocol

from ray.experimental import tqdm_ray

log = logging.getLogger(__name__)

LINES = 10
"""Number of lines that a log gets instead of a bar."""


class ProgressBar(Protocol):
    """What both forms can do."""

    def update(self, n: int) -> None:
        """Note that so much more is done."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def progress_bar(title: str, total: int, *, unit: str, is_tty: bool) -> ProgressBar:
    """Return a bar that Ray draws on the driver's terminal, or one that writes a line at every tenth of the total."""
    return tqdm_ray.tqdm(desc=title, total=total, unit=unit) if is_tty else _Lines(title, total)


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0

    def update(self, n: int) -> None:
        tenth_before = self._done * LINES // self._total
        self._done += n
        if self._done * LINES // self._total > tenth_before:
            # A worker's logger is not set up by the driver; its standard error reaches the driver's.
            sys.stderr.write(f"{self._title}: {self._done} of {self._total}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Nothing is open."""
