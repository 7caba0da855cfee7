"""The sandbox gives back what ran in it, or says which limit it broke, whatever that was; and leaves nothing behind."""

import importlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from datasets.readers.registry import READERS
from datasets.sandbox import calls
from datasets.sandbox.calls import run, value_of
from datasets.sandbox.limits import (
    Budget,
    CrashError,
    FunctionError,
    MemoryLimitError,
    ReadLimits,
    SandboxError,
    TimeLimitError,
)
from datasets.sandbox.messages import Message
from datasets.sequences import File
from tests.datasets.sandbox import hostile

BUDGET = Budget(seconds=60.0, memory=500_000_000)
IMPATIENT = Budget(seconds=0.5, memory=500_000_000)
CHECKOUT = Path(__file__).resolve().parents[3]


def said(function: Callable[..., Iterator[Message]], *arguments: Any, budget: Budget = BUDGET) -> list[Any]:
    """The values that came, and the error that ended them, if one did."""
    values: list[Any] = []
    try:
        for message in run(function, *arguments, budget=budget):
            values.append(message.value)  # noqa: PERF401 (a comprehension would lose them with the error)
    except SandboxError as error:
        values.append(error)
    return values


_NUMBERS = st.sampled_from(["<f4", ">f8", "<f2", "<i8", ">i4", "|u1", "|b1"])
_ARRAYS = _NUMBERS.flatmap(lambda dtype: st_np.arrays(dtype, st_np.array_shapes(min_dims=0, min_side=0)))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(_VALUES, st.dictionaries(st.text(), _ARRAYS, max_size=3))
def test_values_and_arrays_come_back_as_they_are(value: Any, arrays: dict[str, np.ndarray]) -> None:
    [message] = run(hostile.send_back, Message(value=value, arrays=arrays), budget=BUDGET)
    assert message.value == value
    assert list(message.arrays) == list(arrays)
    for name, array in arrays.items():
        assert (message.arrays[name].dtype, message.arrays[name].shape) == (array.dtype, array.shape)
        assert message.arrays[name].tobytes() == array.tobytes()


def test_numpys_scalars_and_strided_arrays_may_be_sent() -> None:
    strided = np.arange(12.0).reshape(3, 4).T[::2]
    [message] = run(hostile.send_back, Message(value=np.int64(3), arrays={"x": strided}), budget=BUDGET)
    assert message.value == 3
    np.testing.assert_array_equal(message.arrays["x"], strided)


def test_results_may_be_more_than_the_memory_limit_together() -> None:
    messages = run(hostile.many_megabytes, 40, budget=Budget(seconds=60.0, memory=100_000_000))
    assert [float(message.arrays["x"][-1]) for message in messages] == list(range(40))


HOSTILE = [
    (hostile.crash, (), CrashError, "SIGSEGV"),
    (hostile.end_by, (signal.SIGABRT,), CrashError, "SIGABRT"),
    (hostile.end_by, (signal.SIGRTMIN + 3,), CrashError, f"signal {signal.SIGRTMIN + 3}"),
    (hostile.end_by, (signal.SIGKILL,), CrashError, "the machine ran out of memory"),
    (hostile.leave, (), CrashError, "status 1"),
    (hostile.eat_memory, (), MemoryLimitError, r"at most 0\.5 GB, .*--limits\.memory-gb"),
    (hostile.loop, (), TimeLimitError, r"within 0\.5 s, .*--limits\.seconds"),
    (hostile.hang_in_c, (), TimeLimitError, r"within 0\.5 s"),
    (hostile.raise_an_error, (), FunctionError, "KeyError: 'left_knee'"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "error", "message"), HOSTILE)
def test_what_goes_wrong_is_named_and_the_next_call_works(
    function: Callable[..., Iterator[Message]], arguments: tuple[Any, ...], error: type, message: str
) -> None:
    came, reason = said(function, *arguments, budget=IMPATIENT)
    assert came == "good"
    assert type(reason) is error
    with pytest.raises(SandboxError, match=message):
        raise reason
    assert said(hostile.count, 3) == [0, 1, 2]


def test_arrays_of_objects_are_not_sent() -> None:
    [reason] = said(hostile.yield_objects)
    assert isinstance(reason, FunctionError)
    assert "numeric array" in str(reason)


def framed(text: str, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        framed("", 2**60),
        framed("no json"),
        framed("[]"),
        framed("{}"),
        framed("[1, {}]"),
        framed('["item"]'),
        framed('[["item"], {}]'),
        framed('[["no such kind", 1], {}]'),
        framed('[["item", 1], 5]'),
        framed('[["item", 1], {"x": 5}]'),
        framed('[["item", 1], {"x": ["|O", [1]]}]'),
        framed('[["item", 1], {"x": ["<f7", [1]]}]'),
        framed('[["item", 1], {"x": ["<f8", ["1"]]}]'),
        framed('[["item", 1], {"x": ["<f8", [-1]]}]'),
        framed('[["item", 1], {"x": ["<f8", [1000000000000]]}]'),
        framed("[" * 100_000),
    ],
)
def test_what_is_no_answer_is_a_crash(content: bytes) -> None:
    came, reason = said(hostile.write_nonsense, content)
    assert came == "good"
    assert isinstance(reason, CrashError)
    assert said(hostile.count, 1) == [0]


def test_half_an_answer_is_waited_for_no_longer_than_the_limit() -> None:
    came, reason = said(hostile.write_nonsense, framed("[", 1000), budget=IMPATIENT)
    assert came == "good"
    assert isinstance(reason, TimeLimitError)


def test_a_call_that_is_given_up_does_not_disturb_the_next() -> None:
    assert [message.value for message in islice(run(hostile.count, 10**9, budget=BUDGET), 2)] == [0, 1]
    assert said(hostile.count, 3) == [0, 1, 2]


def test_calls_may_be_nested_and_come_from_threads() -> None:
    outer = run(hostile.count, 3, budget=BUDGET)
    assert next(outer).value == 0
    assert said(hostile.count, 2) == [0, 1]
    assert [message.value for message in outer] == [1, 2]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda number: said(hostile.count, number), range(6))) == [[*range(n)] for n in range(6)]


def test_environment_and_working_folder_are_those_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, folder in (("one", tmp_path), ("two", CHECKOUT)):
        monkeypatch.setenv("MOTION_BODY_MODELS", value)
        monkeypatch.chdir(folder)
        assert said(hostile.surroundings, "MOTION_BODY_MODELS") == [[value, str(folder)]]
    monkeypatch.delenv("MOTION_BODY_MODELS")
    assert said(hostile.surroundings, "MOTION_BODY_MODELS") == [[None, str(CHECKOUT)]]


def test_modules_that_were_put_on_the_path_since_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(hostile.count, 1) == [0]
    (tmp_path / "lab_of_today.py").write_text("def name(path):\n    return __name__\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module("lab_of_today").name
    assert value_of(function, File("file", 0), default=None) == "lab_of_today"


def test_the_launcher_has_one_thread_whatever_readers_import() -> None:
    """Forking a process with threads may leave a lock taken for ever in the child."""
    calls.close()
    readers = [reader for reader in READERS.values() if getattr(reader, "parses_files", True)]
    assert said(hostile.threads_of_launcher, *readers) == [1]
    calls.close()


def test_a_process_that_keeps_much_memory_is_replaced() -> None:
    small, large = BUDGET.memory // 10, BUDGET.memory * 6 // 10
    [first], [second], [third] = (said(hostile.eat_and_keep, size) for size in (small, large, small))
    assert first == second != third


def test_one_value_about_a_file() -> None:
    assert value_of(hostile.length_unless_bad, File("good", 0), 2, default=None) == {"good": 8}
    assert value_of(hostile.length_unless_bad, File("bad", 0), 2, default={}) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [({"seconds": 0.0}, "seconds"), ({"memory_gb": -1.0}, "memory_gb"), ({"seconds_per_mb": -1.0}, "per_mb")],
)
def test_limits_that_make_no_sense_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}: expected"):
        ReadLimits(**given)


def test_limits_grow_with_the_recording() -> None:
    limits = ReadLimits(seconds=10.0, seconds_per_mb=2.0, memory_gb=1.0, memory_per_byte=4.0)
    assert limits.of(0) == Budget(seconds=10.0, memory=10**9)
    assert limits.of(500_000_000) == Budget(seconds=1010.0, memory=3 * 10**9)


# What stays behind.


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_end(pids: list[int]) -> bool:
    for _ in range(600):
        if not alive(pids):
            return True
        time.sleep(0.05)
    return False


STARTS_A_HANG = """
import sys
from datasets.sandbox.calls import run
from datasets.sandbox.limits import Budget
from tests.datasets.sandbox import hostile
for message in run(hostile.who_am_i, budget=Budget(seconds=3600, memory=10**9)):
    print(*message.value, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_children_end_with_their_parent_however_it_ends(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_HANG], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(alive(children)) == 2
        parent.send_signal(number)
    assert all_end(children)


def test_a_launcher_that_is_killed_takes_its_worker_along_and_is_no_fault_of_the_file() -> None:
    messages = run(hostile.who_am_i, budget=BUDGET)
    worker, launcher = next(messages).value
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises(ConnectionError):
        next(messages)
    assert all_end([worker, launcher])
    assert said(hostile.count, 1) == [0]


def test_a_worker_that_dies_between_two_calls_is_no_fault_of_the_next_file() -> None:
    [worker] = said(hostile.eat_and_keep, 0)
    os.kill(worker, signal.SIGKILL)
    assert all_end([worker])
    assert said(hostile.count, 1) == [0]


def test_closing_leaves_no_children_not_even_dead_ones() -> None:
    assert said(hostile.count, 1) == [0]
    said(hostile.crash)
    calls.close()
    assert not [each for each in psutil.Process().children(recursive=True) if "sandbox" in " ".join(each.cmdline())]
    assert said(hostile.count, 1) == [0]
