"""What a pickle may name (``ALLOWED``), and the data that each name stands for: the second half of ``pickles.py``.

Nothing here hands a pickle's arguments to Python or numpy unchecked. Arrays are made from their bytes, whose number
must fit their shape; a dtype is made from its code, never from its pickled state, which can make numpy take bytes for
pointers. Structured dtypes are refused for the same reason.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

_Raw = str | bytes | memoryview
MAX_DIMENSIONS = 32
MAX_ITEM_BYTES = 1 << 20
MAX_KEY_PARTS = 16
_DTYPE_CODE = re.compile(r"(?P<order>[<>|=]?)(?P<code>[biufc]\d{1,2}|[SUV]\d{1,7}|O\d?|\?)")


class RefusedError(Exception):
    """A pickle wants something that is not data, or too much of it."""


@dataclass(frozen=True)
class Global:
    """A name that stands on the list."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Inert(dict[str, Any]):
    """An object of a class that is not looked up: its attributes alone, under their names."""

    def build(self, state: Any) -> None:
        """Take over the attributes."""
        self.update(state if isinstance(state, dict) else {"state": state})


class PendingDtype:
    """A dtype whose byte order is still to come."""

    def __init__(self, code: Any) -> None:
        match = _DTYPE_CODE.fullmatch(code) if isinstance(code, str) else None
        if match is None:
            raise RefusedError(f"a dtype of kind {code[:40] if isinstance(code, str) else type(code).__name__}")
        self.value = np.dtype(code)
        if self.value.kind == "V" or self.value.itemsize > MAX_ITEM_BYTES:
            raise RefusedError(f"a structured dtype or one of long items, {code}")

    def build(self, state: Any) -> None:
        """Take the byte order out of a pickled state: (version, order, subarray, names, fields, ...)."""
        _, order, *parts = state
        if any(part is not None for part in parts[:3]):
            raise RefusedError("a structured dtype")
        if order not in ("<", ">", "|", "="):
            raise ValueError("a dtype without byte order")
        self.value = self.value.newbyteorder(order)


class PendingArray:
    """An array whose shape, dtype and content are still to come."""

    _value: np.ndarray | None = None

    @property
    def value(self) -> np.ndarray:
        """The array."""
        if self._value is None:
            raise RefusedError("an array that is used before it is there")
        return self._value

    def build(self, state: Any) -> None:
        """Take shape, dtype, order and content: the last four of (version, shape, dtype, is_fortran, content)."""
        shape, dtype, is_fortran, content = state[-4:]
        self._value = _array(content, dtype, shape, order="F" if is_fortran else "C")


Pending = PendingDtype | PendingArray


def key_of(value: Any) -> Any:
    """Return a key of a dict, or a member of a set, if it is cheap to hash: nested tuples can take for ever.

    Raises:
        RefusedError: it is not text, a number of 60 bits, None, or a short tuple of these.
    """
    if isinstance(value, tuple) and len(value) <= MAX_KEY_PARTS and not any(isinstance(part, tuple) for part in value):
        return tuple(key_of(part) for part in value)
    if isinstance(value, np.str_ | np.integer):
        return value.item()
    if value is None or isinstance(value, str | bytes | float) or (isinstance(value, int) and abs(value) < 1 << 60):
        return value
    raise RefusedError(f"a key of type {type(value).__name__}")


def _array(content: Any, dtype: Any, shape: Any, *, order: str) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"an array with a {type(dtype).__name__} as dtype and a {type(shape).__name__} as shape")
    if not all(isinstance(size, int) and 0 <= size < 1 << 60 for size in shape):
        raise ValueError("an array whose shape is no shape")
    flat = _objects(content, dtype) if dtype.hasobject else _numbers(_bytes(content), dtype)
    if flat.size != math.prod(shape):
        raise ValueError(f"an array of shape {shape} with {flat.size:,} items")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _objects(items: Any, dtype: np.dtype) -> np.ndarray:
    if not isinstance(items, list):
        raise ValueError(f"an array of objects made from {type(items).__name__}")
    flat = np.empty(len(items), dtype)
    for position, item in enumerate(items):  # all at once, numpy would look into lists
        flat[position] = item
    return flat


def _numbers(content: bytes | memoryview, dtype: np.dtype) -> np.ndarray:
    flat = np.frombuffer(content, dtype) if len(content) else np.empty(0, dtype)
    check_characters(flat)
    return flat


def check_characters(array: np.ndarray) -> None:
    """Check that an array of text holds characters: numpy takes any four bytes for one, and Python then breaks off.

    Raises:
        ValueError: it has others.
    """
    if array.dtype.kind != "U" or array.dtype.itemsize * array.size == 0:
        return
    codes = np.ravel(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if codes.max() > sys.maxunicode:
        raise ValueError("text that is no text")


def _bytes(content: Any) -> bytes | memoryview:
    if not isinstance(content, _Raw):
        raise ValueError(f"content of type {type(content).__name__}")
    return content.encode("latin-1") if isinstance(content, str) else content


def _reconstruct(arguments: tuple[Any, ...]) -> PendingArray:
    kind, shape, _ = arguments
    if kind != Global("numpy", "ndarray") or shape != (0,):
        raise RefusedError("an array that is made before its content is known")
    return PendingArray()


def _from_buffer(arguments: tuple[Any, ...]) -> np.ndarray:
    content, dtype, shape, order, *_ = arguments
    return _array(content, dtype, shape, order=order)


def _scalar(arguments: tuple[Any, ...]) -> Any:
    dtype, content = arguments
    if isinstance(dtype, np.dtype) and dtype.itemsize == 0:
        return dtype.type()
    return _array(content, dtype, (), order="C")[()]


def _sequence(arguments: tuple[Any, ...]) -> Any:
    """Return the one list or tuple among the arguments, or nothing for none."""
    if not arguments:
        return ()
    [values] = arguments
    if not isinstance(values, list | tuple):
        raise RefusedError(f"a container made from {type(values).__name__}")
    return values


def _dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return {key_of(key): value for key, value in _sequence(arguments)}


def _default_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not all(argument is None or isinstance(argument, Global) for argument in arguments):
        raise RefusedError("a defaultdict with a factory that is no type")
    return {}


def _byte_string(arguments: tuple[Any, ...]) -> bytes | memoryview:
    """Return what ``bytes(b"..")``, ``bytearray("..", "latin-1")`` and ``_codecs.encode("..", "latin1")`` stand for."""
    text, encoding = arguments if len(arguments) == 2 else (*arguments, "latin-1") if arguments else (b"", "latin-1")
    if not isinstance(text, _Raw) or encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"bytes made from {type(text).__name__}")
    return _bytes(text)


def _complex(arguments: tuple[Any, ...]) -> complex:
    real, imaginary = arguments
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise RefusedError("a complex number that is made of other things")
    return complex(real, imaginary)


def _object(arguments: tuple[Any, ...]) -> Inert:
    """``copyreg._reconstructor(kind, object, None)``: an object before it gets its attributes."""
    kind = arguments[0]
    if not (isinstance(kind, Global) and is_inert(kind)):
        raise RefusedError("an object of a type that is not on the list")
    return Inert()


def _inert(_: tuple[Any, ...]) -> Inert:
    return Inert()


def _not_callable(arguments: tuple[Any, ...]) -> Any:
    raise RefusedError(f"a type called with {', '.join(type(argument).__name__ for argument in arguments)[:80]}")


def _everywhere(modules: tuple[str, ...], calls: Mapping[str, Callable[..., Any]]) -> dict[tuple[str, str], Any]:
    return {(module, name): call for module in modules for name, call in calls.items()}


ALLOWED: Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = MappingProxyType(
    {
        **_everywhere(
            ("builtins", "__builtin__"),
            {
                **dict.fromkeys(("bool", "float", "int", "long", "object", "str", "unicode", "tuple"), _not_callable),
                "bytearray": _byte_string,
                "bytes": _byte_string,
                "complex": _complex,
                "dict": _dict,
                "frozenset": lambda arguments: frozenset(map(key_of, _sequence(arguments))),
                "list": lambda arguments: list(_sequence(arguments)),
                "set": lambda arguments: set(map(key_of, _sequence(arguments))),
            },
        ),
        ("collections", "OrderedDict"): _dict,
        ("collections", "defaultdict"): _default_dict,
        ("_codecs", "encode"): _byte_string,
        ("numpy", "ndarray"): _not_callable,
        ("numpy", "dtype"): lambda arguments: PendingDtype(arguments[0]),
        **_everywhere(
            ("numpy.core.multiarray", "numpy._core.multiarray"), {"_reconstruct": _reconstruct, "scalar": _scalar}
        ),
        **_everywhere(("numpy.core.numeric", "numpy._core.numeric"), {"_frombuffer": _from_buffer}),
        **_everywhere(("copyreg", "copy_reg"), {"_reconstructor": _object}),
        **_everywhere(
            ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse.csr", "scipy.sparse._csr"),
            {"csc_matrix": _inert, "csr_matrix": _inert},
        ),
        ("chumpy.ch", "Ch"): _inert,
        ("chumpy.reordering", "Select"): _inert,
    }
)
"""What a pickle may name, and what makes the data out of the arguments."""


def is_inert(name: Global) -> bool:
    """Tell whether a name stands for objects that come as their attributes."""
    return ALLOWED[name.module, name.name] is _inert
