"""Calls in the sandbox: a generator's results one by one, or one value about a file.

A process keeps one sandbox and uses it for every call; a call that begins while another one is half-way gets a second.
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
"""Whether this process is the sandbox: what it calls needs none of its own."""
_idle: list[SandboxProcess] = []


def run(function: Callable[..., Iterator[Message]], *arguments: Any, budget: Budget) -> Iterator[Message]:
    """Yield what ``function(*arguments)`` yields in the sandbox, as it comes.

    Raises:
        SandboxError: it took too long or too much memory, crashed, or raised an error.
        ConnectionError: it could not reach its input, or was ended from outside; worth another try.
    """
    _tell_what_is_missing()
    if not _CAN_FORK:
        yield from function(*arguments)
        return
    process = _idle_process() or SandboxProcess()
    try:
        yield from process.run(function, arguments, budget)
    finally:
        _idle.append(process)


def _idle_process() -> SandboxProcess | None:
    """Return one that can take another call, and end those that cannot."""
    with suppress(IndexError):  # threads may take the last one at the same time
        while process := _idle.pop():
            if process.is_usable:
                return process
            process.close()
    return None


@lru_cache(maxsize=1)
def _tell_what_is_missing() -> None:
    if not _CAN_FORK:
        log.warning("This system cannot fork processes: files are parsed without limits on time and memory.")
    elif sys.platform != "linux":
        log.warning("This system may not limit the memory of processes: a file that fills it is not noticed.")


def value_of(function: Callable[..., Any], file: File, *arguments: Any, default: Any) -> Any:
    """Return ``function(path, *arguments)`` for a file: what JSON can hold, or ``default`` if it breaks a limit.

    Raises:
        ConnectionError: as above.
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
