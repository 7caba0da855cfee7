"""The parent's side of the sandbox: it starts a launcher, which forks one worker at a time."""

import contextlib
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle

from datasets.sandbox.limits import Budget, CrashError, FunctionError, MemoryLimitError, TimeLimitError
from datasets.sandbox.messages import Message, Patience, receive

LENGTH = struct.Struct("<Q")
"""Prefix of each request to the launcher or a worker."""
STATUS = struct.Struct("<i")
"""The launcher's answer when a worker has ended: its status from ``os.waitpid``."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from datasets.sandbox.launcher import main; main(int(sys.argv[2]))"
)
_SETTINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Environment of the child: a process with threads must not fork (Ray gives its workers one thread as well), and
Arrow's own memory pools reserve a gigabyte of address space."""
_START = Budget(seconds=300.0, memory=4 << 30)
"""Longest wait for a start, in seconds. Importing numpy and a reader takes one, and more on a busy machine or a network
drive."""
_END_SECONDS = 10.0
"""Longest wait for an end, in seconds. A process that waits for a broken network drive cannot be killed until it
answers."""


class SandboxProcess:
    """Runs generator functions in a child process, one call at a time."""

    def __init__(self) -> None:
        self._path = list(sys.path)
        self._control, theirs = socket.socketpair()
        with theirs:
            self._launcher = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(self._path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | _SETTINGS,
                process_group=0,  # Ctrl-C in a terminal is for the parent process only
            )
        self._modules: set[str] = set()
        """Modules that calls needed so far; the launcher imports them once for all workers."""
        self._connection: socket.socket | None = None
        self._environment: dict[str, str] | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the sandbox can run another call: it is alive, and has the same module path as this process."""
        return self._control.fileno() >= 0 and self._launcher.poll() is None and self._path == sys.path

    def run(
        self, function: Callable[..., Iterator[Message]], arguments: Sequence[Any], budget: Budget
    ) -> Iterator[Message]:
        """Run a generator function and yield its results as they arrive.

        Raises:
            SandboxError: The function exceeded a limit on time or memory, crashed, or raised an error.
            ConnectionError: The input could not be reached, or the process was killed from outside; a retry may help.
        """
        may_go_on = False
        try:
            connection = self._worker_for(_modules_of(function, arguments))
            self._ask(connection, function, arguments, budget)
            while (answer := self._receive(connection, budget)).value[0] == "item":
                yield replace(answer, value=answer.value[1])
            may_go_on = answer.value == ["end", True]
            _raise_for(answer.value, budget)
        finally:
            if not may_go_on:
                self._end_worker()

    def close(self) -> None:
        """End the child processes."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._control.close()  # the launcher ends its worker and itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._launcher.wait(_END_SECONDS)

    def _worker_for(self, modules: set[str]) -> socket.socket:
        """Return a worker that has already imported the modules, so that importing does not count as reading time."""
        new = sorted(modules - self._modules)
        self._modules |= modules
        connection = self._waiting_worker()
        if connection is None:
            return self._start()
        if new:
            self._ask(connection, importing, [new], _START)
            self._receive(connection, _START)
        return connection

    def _waiting_worker(self) -> socket.socket | None:
        """Return the worker of the last call, unless it died, or sent data without a request."""
        if self._connection is not None:
            self._connection.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                self._connection.recv(1)
                self._end_worker()
        return self._connection

    def _start(self) -> socket.socket:
        """Request a new worker, and wait until it is ready."""
        self._connection, theirs = socket.socketpair()
        order = json.dumps(sorted(self._modules)).encode()
        with theirs:
            socket.send_fds(self._control, [LENGTH.pack(len(order))], [theirs.fileno()])
            self._control.sendall(order)
        self._receive(self._connection, _START)
        self._environment = None
        return self._connection

    def _ask(self, connection: socket.socket, function: Callable, arguments: Sequence[Any], budget: Budget) -> None:
        environment = os.environ | _SETTINGS
        request = {
            "function": function,
            "arguments": arguments,
            "memory": budget.memory,
            "folder": _working_folder(),
            "environment": None if environment == self._environment else environment,
        }
        self._environment = environment
        content = cloudpickle.dumps(request)
        connection.settimeout(None)
        connection.sendall(LENGTH.pack(len(content)) + content)

    def _receive(self, connection: socket.socket, budget: Budget) -> Message:
        try:
            message = receive(connection, patience=Patience(budget.seconds), max_bytes=budget.memory)
        except TimeoutError:
            raise TimeLimitError(budget) from None
        except ValueError as error:
            raise CrashError(f"an invalid answer: {error}") from error
        if message is None:
            raise self._death()
        if not (isinstance(message.value, list) and len(message.value) == 2):
            raise CrashError("an invalid answer")
        return message

    def _death(self) -> Exception:
        status = self._end_worker()
        if status is None:
            return ConnectionError("the process that reads files was killed from outside or did not start")
        return CrashError(_said(status))

    def _end_worker(self) -> int | None:
        """End the worker and return its exit status; None if the launcher has ended too."""
        if self._connection is None:
            return None
        self._connection.close()
        self._connection = None
        self._control.settimeout(_END_SECONDS)
        try:
            self._control.sendall(b"\0")
            said = self._control.recv(STATUS.size)
        except OSError:
            said = b""
        if len(said) < STATUS.size:
            self.close()
            return None
        self._control.settimeout(None)
        return STATUS.unpack(said)[0]


def importing(modules: Iterable[str]) -> Iterator[Message]:
    """Import modules and yield nothing; the call that needs a module reports if it cannot be imported."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    yield from ()


def _modules_of(function: Callable, arguments: Sequence[Any]) -> set[str]:
    """Return the modules that define the function and its arguments."""
    return {function.__module__, *(type(argument).__module__ for argument in arguments)}


def _raise_for(answer: Sequence[Any], budget: Budget) -> None:
    """Raise the error that an answer reports, unless it reports the end."""
    kind, said = answer
    if kind == "memory":
        raise MemoryLimitError(budget)
    if kind == "failed":
        raise FunctionError(str(said))
    if kind == "unreachable":
        raise ConnectionError(str(said))
    if kind != "end":
        raise CrashError("an invalid answer")


def _working_folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        return None


def _said(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"that its process ended with status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return "that its process was killed from outside, most likely because the machine ran out of memory"
    try:
        return f"that its process ended by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"that its process ended by signal {number}"
