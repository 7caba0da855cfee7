"""Calls in the sandbox: a generator's results one by one, or one value about a file.

A process keeps one sandbox and uses it for every call; a call that begins while another one is half-way gets a second.
"""

import atexit
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from datasets.sandbox import launcher
from datasets.sandbox.limits import Budget, ReadLimits, SandboxError
from datasets.sandbox.messages import Message
from datasets.sandbox.process import SandboxProcess

log = logging.getLogger(__name__)

_idle: list[SandboxProcess] = []


def run(function: Callable[..., Iterator[Message]], *arguments: Any, budget: Budget) -> Iterator[Message]:
    """Yield what ``function(*arguments)`` yields in the sandbox, as it comes.

    Raises:
        SandboxError: it took too long or too much memory, crashed, or raised an error.
        ConnectionError: the sandbox was ended from outside.
    """
    try:
        process = _idle.pop()
    except IndexError:
        process = SandboxProcess()
    try:
        yield from process.run(function, arguments, budget)
    finally:
        if process.is_usable:
            _idle.append(process)


def value_of(function: Callable[..., Any], path: str, *, size: int, default: Any) -> Any:
    """Return ``function(path)``, which JSON must be able to hold, or ``default`` if the sandbox gives up on it."""
    if launcher.is_worker:
        return function(path)
    try:
        [answer] = run(_one_value, function, path, budget=ReadLimits().of(size))
    except SandboxError as error:
        log.warning("%s: %s", path, error)
        return default
    return answer.value


def _one_value(function: Callable[..., Any], path: str) -> Iterator[Message]:
    yield Message(value=function(path))


def close() -> None:
    """End all child processes; the next call starts another one."""
    while _idle:
        _idle.pop().close()


atexit.register(close)
os.register_at_fork(after_in_child=_idle.clear)
