"""Errors that a restart cannot mend: they end a run at once, with one line, instead of being retried.

Ray Train restarts its workers after any exception, since it cannot tell a lost node from a mistake. A mistake of the
user's (``ValueError``), a loss that is no longer finite and a full disk come back at every restart.
"""

from typing import Any

from ray.train import UserCallback

from datasets.store.parquet import NO_ROOM


class UserError(ValueError):
    """What a worker found wrong, told to the user."""


class StopOnUserError(UserCallback):
    """Raises in Ray Train's controller, which ends the run, where a worker met an error that will come back."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Look at what the workers raised."""
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if (message := user_message(cause)) is not None:
                raise UserError(message)


def user_message(error: BaseException) -> str | None:
    """Return what to tell the user of an error that will come back; None for any other."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return (
            f"no room left: {error.strerror or error}. Free some and run the same command again: "
            "it goes on from the last whole checkpoint."
        )
    if isinstance(error, ValueError | FloatingPointError):
        return str(error)
    return None
