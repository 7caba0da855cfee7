"""Progress of a long job, also from inside a Ray worker: a progress bar on a terminal, log lines otherwise."""

import logging
import sys
from typing import Protocol

from ray.experimental import tqdm_ray

log = logging.getLogger(__name__)

LINES = 10
"""Number of log lines that replace a progress bar."""


class ProgressBar(Protocol):
    """The interface of both forms."""

    def update(self, n: int) -> None:
        """Add ``n`` to the work that is done."""
        ...

    def close(self) -> None:
        """Close the bar."""
        ...


def progress_bar(title: str, total: int, *, unit: str, is_tty: bool) -> ProgressBar:
    """Return a bar that Ray draws on the driver's terminal or, without a terminal, one that writes ten log lines."""
    return tqdm_ray.tqdm(desc=title, total=total, unit=unit) if is_tty else _Lines(title, total)


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0

    def update(self, n: int) -> None:
        tenth_before = self._done * LINES // self._total
        self._done += n
        if self._done * LINES // self._total > tenth_before:
            # Ray forwards a worker's stderr to the driver; a worker's logger would need its own configuration.
            sys.stderr.write(f"{self._title}: {self._done} of {self._total}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Do nothing: there is no bar to close."""
