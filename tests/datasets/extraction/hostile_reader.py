"""A reader whose recordings do what hostile files can do to a parser: a path says what, after a good sequence."""

import ctypes
import io
import signal
from collections.abc import Iterable, Iterator

import numpy as np
from scipy.io import loadmat, savemat

from datasets.sequences import File, MotionSequence, Recording
from tests.datasets.toy_sequences import flat_walk


class HostileReader:
    name = "toy"

    def find(self, files: Iterable[File]) -> list[Recording]:
        return []

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        yield flat_walk(recording.path)
        for what, act in ACTS.items():
            if what in recording.path:
                act()
        if "long" in recording.path:
            yield from (flat_walk(f"{recording.path} {number}", frames=100_000) for number in range(12))


class Repeater(HostileReader):
    """Yields a sequence that it is given."""

    def __init__(self, sequence: MotionSequence) -> None:
        self.sequence = sequence

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        yield self.sequence


def crash() -> None:
    ctypes.string_at(0)


def crash_in_scipy() -> None:
    """By a MATLAB file with one changed byte: the type of a variable's name."""
    file = io.BytesIO()
    savemat(file, {"d_skel": np.zeros((20, 3, 4))})
    content = bytearray(file.getvalue())
    content[180] = 16
    loadmat(io.BytesIO(content))


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytes(10**7))


def loop() -> None:
    while True:
        pass


def hang_in_c() -> None:
    """With Python's lock held and all signals blocked that can be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(3600)


def lose_the_network() -> None:
    raise ConnectionResetError("the bucket hung up")


def wait_too_long() -> None:
    raise TimeoutError("the bucket did not answer")


def be_told_to_slow_down() -> None:
    raise OSError(16, "slow down")


def name_what_is_missing() -> None:
    raise KeyError("left_knee")


ACTS = {
    "crash in scipy": crash_in_scipy,
    "crash itself": crash,
    "eat memory": eat_memory,
    "loop": loop,
    "hang in C": hang_in_c,
    "lose the network": lose_the_network,
    "wait too long": wait_too_long,
    "slow down": be_told_to_slow_down,
    "have a bug": name_what_is_missing,
}
