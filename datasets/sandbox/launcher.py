"""The child's side of the sandbox: a launcher that never opens foreign files, and workers that it forks, which do.

The launcher imports the modules that workers need and waits. It forks a worker in milliseconds, while a new interpreter
takes a second, so a crash costs little. The launcher starts no threads, so it can fork safely. It ends its worker and
itself as soon as the process that started it has ended for any reason.

Without Linux's ``/proc`` and ``prctl`` (macOS), the memory that a process starts with is not known and counts as 0, and
a worker survives if only the launcher is killed.
"""

import contextlib
import ctypes
import errno
import json
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets.files import is_transient
from datasets.sandbox import calls
from datasets.sandbox.messages import Message, encode, send
from datasets.sandbox.process import LENGTH, STATUS, importing

_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Fork a worker for each incoming connection, one at a time, and end it on request."""
    control = socket.socket(fileno=descriptor)
    while order := _next_launch_request(control):
        modules, connection = order
        list(importing(modules))
        worker = os.fork()
        if worker == 0:
            control.close()
            _work(connection)
        connection.close()
        control.recv(1)  # the request to end it, or nothing, since the parent process has ended
        os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
        with contextlib.suppress(OSError):
            control.sendall(STATUS.pack(status))


def _next_launch_request(control: socket.socket) -> tuple[list[str], socket.socket] | None:
    """Return the modules to import and the worker's connection; None if the parent process has ended."""
    start, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, 1)
    if not descriptors:
        return None
    [size] = LENGTH.unpack(start)
    return json.loads(_read(control, size)), socket.socket(fileno=descriptors[0])


def _work(connection: socket.socket) -> None:
    """Answer requests until there are no more. Does not return."""
    calls.is_worker = True
    try:
        _end_with_launcher()
        _serve(connection)
    except OSError:  # the other side has ended
        pass
    except BaseException:  # noqa: BLE001 whatever it is, a forked worker must not return into the launcher
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _end_with_launcher() -> None:
    """Have the kernel end this process when the launcher ends, and choose it first when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _serve(connection: socket.socket) -> None:
    base = _address_space()
    send(connection, encode(Message(value=["ready", None])))
    while request := _next_request(connection):
        _adopt(request["environment"], request["folder"])
        _limit_memory(base + request["memory"])
        for message in _answers(request["function"], request["arguments"]):
            send(connection, message)
        _limit_memory(resource.RLIM_INFINITY)
        is_reusable = _address_space() - base < request["memory"] // 2
        send(connection, encode(Message(value=["end", is_reusable])))


def _next_request(connection: socket.socket) -> dict[str, Any] | None:
    start = _read(connection, LENGTH.size)
    # The parent process is trusted. Answers to it are not trusted there, and have no pickles.
    return pickle.loads(_read(connection, *LENGTH.unpack(start))) if start else None  # noqa: S301


def _adopt(environment: dict[str, str] | None, folder: str | None) -> None:
    """Adopt the environment, if it changed, and the working folder of the calling process."""
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)


def _limit_memory(size: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # macOS does not support this limit
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _answers(function: Callable[..., Iterator[Message]], arguments: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the function's results, encoded, and the error if it fails."""
    try:
        for message in function(*arguments):
            yield encode(replace(message, value=["item", message.value]))
    except Exception as error:  # noqa: BLE001 a reader may have any bug; the error is the answer to the call
        _limit_memory(resource.RLIM_INFINITY)
        yield encode(Message(value=_why(error)))


def _why(error: Exception) -> list[Any]:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return ["memory", None]
    if is_transient(error):
        return ["unreachable", f"{type(error).__name__}: {error}"]
    return ["failed", "".join(traceback.format_exception(error))]


def _read(connection: socket.socket, size: int) -> bytes:
    """Return ``size`` bytes, or none if the other side ends before."""
    content = bytearray()
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            return b""
        content += part
    return bytes(content)
