"""Call functions in the sandbox: a generator, result by result, or a function of one file that returns a value.

A process keeps one sandbox for all calls; a call that begins while another one is unfinished gets a second sandbox.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from datasets.sandbox.limits import Budget, ReadLimits, SandboxError
from datasets.sandbox.messages import Message
from datasets.sandbox.process import SandboxProcess
from datasets.sequences import File

log = logging.getLogger(__name__)

_CAN_FORK = hasattr(os, "fork")
is_worker = False
"""Whether this process is the sandbox; its own calls need no other one."""
_idle: list[SandboxProcess] = []


def run(function: Callable[..., Iterator[Message]], *arguments: Any, budget: Budget) -> Iterator[Message]:
    """Run ``function(*arguments)`` in the sandbox and yield its results as they arrive.

    Raises:
        SandboxError: The function exceeded a limit on time or memory, crashed, or raised an error.
        ConnectionError: The input could not be reached, or the process was killed from outside; a retry may help.
    """
    _warn_about_missing_limits()
    if not _CAN_FORK:
        yield from function(*arguments)
        return
    process = _idle_process() or SandboxProcess()
    try:
        yield from process.run(function, arguments, budget)
    finally:
        _idle.append(process)


def _idle_process() -> SandboxProcess | None:
    """Return an idle process that can run another call, and end idle ones that cannot."""
    with suppress(IndexError):  # another thread may take the last one at the same time
        while process := _idle.pop():
            if process.is_usable:
                return process
            process.close()
    return None


@lru_cache(maxsize=1)
def _warn_about_missing_limits() -> None:
    if not _CAN_FORK:
        log.warning("This system cannot fork processes: files are parsed without limits on time and memory.")
    elif sys.platform != "linux":
        log.warning("This system cannot limit the memory of processes: a file that fills it is not detected.")


def value_of(function: Callable[..., Any], file: File, *arguments: Any, default: Any) -> Any:
    """Return ``function(path, *arguments)`` for a file, a JSON value, or ``default`` if it exceeds a limit.

    Raises:
        ConnectionError: As for ``run``.
    """
    if is_worker:
        return function(file.path, *arguments)
    try:
        [answer] = run(_one_value, function, file.path, *arguments, budget=ReadLimits().of(file.size))
    except SandboxError as error:
        log.warning("%s: %s", file.path, error)
        return default
    return answer.value


def _one_value(function: Callable[..., Any], *arguments: Any) -> Iterator[Message]:
    yield Message(value=function(*arguments))


def close() -> None:
    """End all child processes; the next call starts another one."""
    while _idle:
        _idle.pop().close()


atexit.register(close)
if _CAN_FORK:
    os.register_at_fork(after_in_child=_idle.clear)
