"""What runs in the sandbox in its tests: generators that do well at first, and then what a hostile file can do."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.sandbox.messages import Message

MB = 10**6


def count(number: int) -> Iterator[Message]:
    for each in range(number):
        yield Message(value=each, arrays={"square": np.full((2, 3), each**2, np.float32)})


def send_back(message: Message) -> Iterator[Message]:
    yield message


def crash() -> Iterator[Message]:
    yield Message(value="good")
    ctypes.string_at(0)


def eat_memory() -> Iterator[Message]:
    yield Message(value="good")
    eaten = []
    while True:
        eaten.append(bytes(10 * MB))


def loop() -> Iterator[Message]:
    yield Message(value="good")
    while True:
        pass


def hang_in_c() -> Iterator[Message]:
    """Sleep in C with Python's lock held and all signals blocked that can be."""
    yield Message(value="good")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(3600)


def raise_an_error() -> Iterator[Message]:
    yield Message(value="good")
    raise KeyError("left_knee")


def leave() -> Iterator[Message]:
    yield Message(value="good")
    sys.exit(3)


def end_by(number: int) -> Iterator[Message]:
    yield Message(value="good")
    os.kill(os.getpid(), number)


def yield_objects() -> Iterator[Message]:
    yield Message(arrays={"objects": np.array([{}], dtype=object)})


def many_megabytes(number: int) -> Iterator[Message]:
    for each in range(number):
        yield Message(arrays={"x": np.full(10 * MB // 8, float(each))})


def write_nonsense(content: bytes) -> Iterator[Message]:
    """Write past the sandbox into the connection, as code could that a file made run."""
    yield Message(value="good")
    for entry in list(Path("/proc/self/fd").iterdir()):
        if entry.is_socket():
            os.write(int(entry.name), content)


def surroundings(name: str) -> Iterator[Message]:
    yield Message(value=[os.environ.get(name), str(Path.cwd())])


def threads_of_launcher(*_: object) -> Iterator[Message]:
    yield Message(value=len(list(Path(f"/proc/{os.getppid()}/task").iterdir())))


def who_am_i() -> Iterator[Message]:
    """This process and the launcher, and then nothing for an hour."""
    yield Message(value=[os.getpid(), os.getppid()])
    ctypes.PyDLL(None).sleep(3600)


def eat_and_keep(kept: int) -> Iterator[Message]:
    """Leave memory in use, as a cache does."""
    KEPT.append(bytes(kept))
    yield Message(value=os.getpid())


def length_unless_bad(path: str, times: int) -> dict[str, int]:
    if path == "bad":
        os.abort()
    return {path: times * len(path)}


KEPT: list[bytes] = []
