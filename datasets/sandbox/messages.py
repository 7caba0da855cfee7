"""Messages between the processes: JSON and numeric arrays, never a pickle.

The child reads hostile files, so its messages are checked as a file would be: types from a list, bounded sizes. A
message is a length, the JSON text, and the arrays' bytes one after the other, which are received in place without a
copy.
"""

import json
import math
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<Q")
_MAX_TEXT = 1 << 28
"""Most bytes of JSON in one message."""
_TOGETHER = 1 << 16
"""Messages up to this many bytes are sent in one piece."""
_NUMBERS = re.compile(r"[<>|][biuf]\d{1,2}")
_SLICE = 1.0


@dataclass(frozen=True, kw_only=True)
class Message:
    """JSON values, and numeric arrays by name."""

    value: Any = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Patience:
    """Counts the seconds of waiting for a process.

    They are counted one by one, so that a job that was suspended, or a machine that slept, loses one second and not the
    whole limit.
    """

    def __init__(self, seconds: float) -> None:
        self.slice = min(_SLICE, seconds)
        self._left = seconds

    def wait_on(self) -> None:
        """Count a second in which nothing was received.

        Raises:
            TimeoutError: It was the last one.
        """
        self._left -= self.slice
        if self._left <= 0:
            raise TimeoutError


def encode(message: Message) -> list[bytes | memoryview]:
    """Return the bytes of a message, in parts.

    Raises:
        TypeError, ValueError: The message contains values that cannot be sent.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if not _NUMBERS.fullmatch(array.dtype.str):
            raise TypeError(f"{name}: expected a numeric array, found one of {array.dtype}")
    described = {name: [array.dtype.str, message.arrays[name].shape] for name, array in arrays.items()}
    text = json.dumps([message.value, described], separators=(",", ":"), default=_as_python).encode()
    parts = [_LENGTH.pack(len(text)) + text, *map(_bytes_of, arrays.values())]
    return [b"".join(parts)] if sum(map(len, parts)) < _TOGETHER else parts


def _as_python(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"expected a JSON value, found {type(value).__name__}")


def send(connection: socket.socket, parts: Iterable[bytes | memoryview]) -> None:
    """Send an encoded message.

    Raises:
        OSError: The other side has ended.
    """
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket, *, patience: Patience, max_bytes: int) -> Message | None:
    """Return the next message, or None if the other side has ended.

    Raises:
        TimeoutError: It did not arrive in time.
        ValueError: The data is not a message, or has more than ``max_bytes``.
    """
    connection.settimeout(patience.slice)
    length = bytearray(_LENGTH.size)
    if not _fill(connection, memoryview(length), patience):
        return None
    [size] = _LENGTH.unpack(length)
    if size > min(_MAX_TEXT, max_bytes):
        raise ValueError(f"a message of {size:,} bytes")
    text = bytearray(size)
    if not _fill(connection, memoryview(text), patience):
        return None
    value, arrays = _decoded(text, max_bytes)
    for array in arrays.values():
        if not _fill(connection, _bytes_of(array), patience):
            return None
    return Message(value=value, arrays=arrays)


def _decoded(text: bytearray, max_bytes: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the values, and the arrays without their content."""
    try:
        value, described = json.loads(text)
        arrays = {}
        for name, (code, shape) in described.items():
            array = _empty_array(code, shape, max_bytes)
            arrays[name], max_bytes = array, max_bytes - array.nbytes
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a message of another form: {error!r}") from error
    return value, arrays


def _empty_array(code: Any, shape: Any, max_bytes: int) -> np.ndarray:
    if not _NUMBERS.fullmatch(code) or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError("an array that is not numeric")
    dtype = np.dtype(code)
    if math.prod(shape) * dtype.itemsize > max_bytes:
        raise ValueError(f"arrays of more than {max_bytes:,} bytes")
    return np.empty(shape, dtype)


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _fill(connection: socket.socket, left: memoryview, patience: Patience) -> bool:
    """Fill ``left`` with received bytes; False if the other side ends before."""
    while left:
        try:
            count = connection.recv_into(left)
        except TimeoutError:
            patience.wait_on()
            continue
        except ConnectionError:
            count = 0
        if count == 0:
            return False
        left = left[count:]
    return True
