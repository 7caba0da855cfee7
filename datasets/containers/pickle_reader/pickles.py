"""Foreign pickles, read without running anything: public data sets come so, and any may have been tampered with.

A pickle is a program for a small stack machine. Python's own reader calls whatever the program names, and even with
only harmless names allowed it can be made to eat memory (``bytes(10**12)``), hang, or take bytes for pointers. So the
program is followed here by a machine that builds data and nothing else: numbers, text, lists, tuples, dicts, sets,
arrays and scalars of numpy 1 and 2, and (for body models) the attributes of sparse matrices and Chumpy arrays. Any name
that is not in ``pickle_calls.ALLOWED`` is refused with a message that says it. Protocols 0 to 5, Python 2 and 3.

What it promises:

- Arrays are read-only views of the file's bytes: a pickle of big arrays needs 1.0 times its size in all. (Python 3 in
  protocol 2 stores bytes as text: 2.5 times.)
- Memory beyond the file is bounded by the file: 64 MiB plus 64 times its size, never more than 8 GiB.
- What comes out is a tree of at most ``MAX_DEPTH`` levels that is not much bigger unfolded than the file (no cycle, no
  list of the same list of the same list), so it can be printed, copied, or made an array of.
- Time is linear in the file's size: about a million steps (a number, a text, a name) a second.

Byte strings of 4096 bytes or more come as ``memoryview``, text of Python 2 as Latin-1, ordered and default
dicts as ``dict``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from datasets.containers.pickle_reader.opcodes import DAMAGE, run
from datasets.containers.pickle_reader.values import RefusedError
from datasets.files import read_bytes
from datasets.sequences import RecordingError

MAX_DEPTH = 64
BASE_UNFOLDED, UNFOLDED_PER_BYTE = 1_000_000, 4
"""Items, letters and numbers that may come out: a pickle holds at most one a byte, unless it refers to one twice."""
_ATOMS = (float, int, bool, type(None))
_SIZED = (str, bytes, memoryview)


def load(path: str) -> Any:
    """Return the data of a pickle.

    Raises:
        RecordingError: it names something that is not data, asks for more memory than its size warrants, or is damaged.
    """
    return loads(read_bytes(path), path)


def loads(content: bytes, path: str) -> Any:
    """Return the data in ``content``; ``path`` is for messages."""
    try:
        value = run(content)
        _check_unfolded(value, BASE_UNFOLDED + UNFOLDED_PER_BYTE * len(content))
    except RefusedError as error:
        fix = "Do not open it elsewhere unless you trust its maker."
        raise RecordingError(path, where="pickle", expected="data alone", found=str(error), fix=fix) from error
    except DAMAGE as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
        fix = "Fetch the file again."
        raise RecordingError(path, where="pickle", expected="a whole pickle", found=found, fix=fix) from error
    return value


def _check_unfolded(value: Any, limit: int) -> None:
    """Walk through the value as if each reference were a copy, and stop once that exceeds the limit."""
    if _left_after([value], limit, 0) < 0:
        raise RefusedError("the same objects over and over: unfolded they would fill the memory")


def _left_after(values: Iterable[Any], left: int, level: int) -> int:
    """Return how many items are left of a limit after these and all that is in them; negative ends the walk."""
    if level > MAX_DEPTH:
        raise RefusedError(f"lists in lists, more than {MAX_DEPTH} deep")
    for value in values:
        left -= 1
        if type(value) in _ATOMS:
            continue
        left -= value.size if isinstance(value, np.ndarray) else len(value) if isinstance(value, _SIZED) else 0
        if left < 0:
            return left
        if isinstance(value, dict):
            left = _left_after(value.values(), _left_after(value.keys(), left, level + 1), level + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            left = _left_after(value, left, level + 1)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            left = _left_after(value.flat, left, level + 1)
    return left
