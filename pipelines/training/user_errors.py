"""Errors that a restart cannot fix: they end a run at once, with one line, instead of being retried.

Ray Train restarts its workers after any exception, since it cannot distinguish a lost node from a mistake. But a
mistake of the user (``ValueError``), a loss that is not finite, and a full disk would recur after every restart.
"""

from typing import Any

from ray.train import UserCallback

from datasets.store.parquet import NO_ROOM


class UserError(ValueError):
    """An error of a worker that is reported to the user without a trace."""


class StopOnUserError(UserCallback):
    """Ends a run, by raising in Ray Train's controller, if a worker had an error that would recur."""

    def __init__(self, storage: str) -> None:
        self._storage = storage

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise a ``UserError`` if a worker's exception would recur after a restart."""
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if (message := user_message(cause, self._storage)) is not None:
                raise UserError(message)


def user_message(error: BaseException, storage: str) -> str | None:
    """Return the message for an error that would recur after a restart; None for any other error.

    Args:
        error: what a worker or the controller raised.
        storage: where the run's checkpoints are written, for errors that do not name the full disk.
    """
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return (
            f"{error.filename or storage}: the disk is full: {error.strerror or error}. "
            "Free some space and run the same command again: it resumes from the last checkpoint."
        )
    if isinstance(error, ValueError | FloatingPointError):
        return str(error)
    return None
