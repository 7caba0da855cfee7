"""Read foreign pickles with Python's unpickler and an allow-list, since a pickle may have been tampered with.

A pickle is a program: it names functions and calls them. Here each name is looked up in ``ALLOWED`` only, and the
entries there only build data: numbers, text, containers, arrays and scalars of numpy 1 and 2, and (for body models) the
attributes of sparse matrices and Chumpy arrays. Any other name is refused with a message that contains it. Protocols 0
to 5 and Python 2 and 3 are supported.

What keeps a pickle from going further:

- Dtypes are made from their code, never from their pickled state, which can make numpy interpret bytes as pointers.
  Structured dtypes are refused for the same reason. Arrays are made only from as many bytes as their shape needs.
- The entries of the allow-list accept no attributes, so that one pickle cannot change how the next one is read.
- References to objects outside the pickle and Python's extension registry are refused.

Time and memory are not limited here: a small pickle can fill the memory, or take a year to hash. Extraction reads files
in a sandbox (``datasets.sandbox``), which limits both. Speed: 0.9 times that of ``pickle.load`` for clips of small
arrays and for lists of numbers, the same for large arrays. Memory: the size of the arrays, or 2.5 times that for arrays
that Python 3 wrote in protocol 2, as text.

Text of Python 2 is decoded as Latin-1; ordered and default dicts become ``dict``.
"""

import io
import math
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from fsspec.core import url_to_fs

from datasets.containers.damage import blame_file
from datasets.sequences import RecordingError, damaged

_CHUNK = 1 << 20
MAX_DIMENSIONS = 32
MAX_ITEM_BYTES = 1 << 20
_DTYPE_CODE = re.compile(r"[<>|=]?([biufc]\d{1,2}|[SU]\d{1,7}|O\d?|\?)")


class RefusedError(Exception):
    """A pickle asks for something that is not data."""


def load(path: str) -> Any:
    """Return the data of a pickle, at a local path or any fsspec URL.

    Raises:
        RecordingError: The pickle names something that is not data, is damaged, or cannot be opened.
    """
    filesystem, inner = url_to_fs(path)
    try:
        file: Any = filesystem.open(inner, "rb")
    except (FileNotFoundError, PermissionError) as error:
        raise RecordingError(
            path, where="file", expected="a readable file", found=str(error), fix="Check path and access rights."
        ) from error
    with io.BufferedReader(file, _CHUNK) as buffered:
        return read(buffered, path)


def loads(content: bytes, where: str) -> Any:
    """Return the data in ``content``; ``where`` names its origin in messages."""
    return read(io.BytesIO(content), where)


def read(file: Any, where: str) -> Any:
    """Return the data of the one pickle in an open file."""
    with blame_file(lambda found: damaged(where, "pickle", "a complete pickle", found)):
        try:
            value = _Reader(file, encoding="latin1").load()
        except RefusedError as error:
            fix = "Do not open it with other tools unless you trust its author."
            raise RecordingError(where, where="pickle", expected="only data", found=str(error), fix=fix) from error
        if file.read(_CHUNK).strip():
            raise ValueError("more bytes after its end")
        return value


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise RefusedError(f"{module}.{name}"[:200] + ", which would be run")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError("a reference to something outside the pickle, such as a storage of torch")


class Name:
    """An entry of the allow-list. It accepts no state, so that a pickle cannot change it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("a change of an entry of the allow-list")


class Type(Name):
    """A type that a pickle may name, but not call."""

    __slots__ = ()


class Function(Name):
    """A function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self._function(*arguments)


class Attributes(dict[str, Any]):
    """An object of a class that is never imported: only its attributes, by name."""

    def __setstate__(self, state: Any) -> None:
        """Store the attributes."""
        self.update(state if isinstance(state, dict) else {"state": state})


class Dtype:
    """A dtype of numbers, text or objects, whose byte order may follow later in the pickle."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            raise RefusedError(f"a dtype of kind {code[:40] if isinstance(code, str) else type(code).__name__}")
        self.value = np.dtype(code)
        if self.value.itemsize > MAX_ITEM_BYTES:
            raise RefusedError(f"a dtype of long items, {code}")

    def __setstate__(self, state: Any) -> None:
        """Read the byte order from a pickled state: (version, order, subarray, names, fields, ...)."""
        _, order, *parts = state
        if any(part is not None for part in parts[:3]):
            raise RefusedError("a structured dtype")
        if order not in ("<", ">", "|", "="):
            raise ValueError("a dtype without byte order")
        self.value = self.value.newbyteorder(order)


class Array(np.ndarray):
    """An array whose shape, dtype and content follow later in the pickle."""

    _is_made = False

    def __setstate__(self, state: Any) -> None:
        """Read shape, dtype, order and content: the last four of (version, shape, dtype, is_fortran, content)."""
        if self._is_made:
            raise RefusedError("an array that is made twice")
        shape, dtype, is_fortran, content = state[-4:]
        real, content = _checked(content, dtype, shape)
        checked: Any = (1, shape, real, bool(is_fortran), content)
        super().__setstate__(checked)
        self._is_made = True
        check_characters(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle it as a normal array."""
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _checked(content: Any, dtype: Any, shape: Any) -> tuple[np.dtype, Any]:
    """Return a dtype and the bytes (or the list of objects) of an array, if they fit its shape."""
    if not isinstance(dtype, Dtype) or not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"an array with a {type(dtype).__name__} as dtype and a {type(shape).__name__} as shape")
    if not all(isinstance(size, int) and 0 <= size < 1 << 60 for size in shape):
        raise ValueError("an array whose shape is not a shape")
    if dtype.value.hasobject:
        if not isinstance(content, list) or len(content) != math.prod(shape):
            raise ValueError(f"an array of objects of shape {shape} made from {type(content).__name__}")
        return dtype.value, content
    content = _bytes_of(content)
    if len(content) != math.prod(shape) * dtype.value.itemsize:
        raise ValueError(f"an array of shape {shape} in {len(content):,} bytes")
    return dtype.value, content


def _bytes_of(content: Any) -> bytes | bytearray:
    if isinstance(content, str):  # Python 2 has one type for text and bytes
        return content.encode("latin-1")
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"content of type {type(content).__name__}")
    return content


def check_characters(array: np.ndarray) -> None:
    """Check that a text array contains valid characters: numpy accepts any four bytes as one, and Python then fails.

    Raises:
        ValueError: It contains an invalid character.
    """
    if array.dtype.kind != "U" or array.dtype.itemsize * array.size == 0:
        return
    codes = np.ravel(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if codes.max() > sys.maxunicode:
        raise ValueError("text that is no text")


def _array(kind: Any, shape: Any, _: Any) -> Array:
    if kind is not ALLOWED["numpy", "ndarray"] or shape != (0,):
        raise RefusedError("an array that is created before its content is known")
    return Array((0,), np.int8)


def _array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    real, content = _checked(content, dtype, shape)
    if real.hasobject:
        raise RefusedError("an array of objects made from bytes")
    array = np.frombuffer(content, real) if len(content) else np.empty(0, real)
    check_characters(array)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, content: Any = b"") -> Any:
    if isinstance(dtype, Dtype) and dtype.value.itemsize == 0:
        return dtype.value.type()
    return _array_from_buffer(content, dtype, (), "C")[()]


def _byte_string(text: Any = b"", encoding: Any = "latin-1") -> bytes | bytearray:
    """Return the value of ``bytes(b"..")``, ``bytearray("..", "latin-1")`` or ``_codecs.encode("..", "latin1")``."""
    if not isinstance(text, str | bytes | bytearray) or encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"bytes made from {type(text).__name__}")
    return _bytes_of(text)


def _complex(real: Any, imaginary: Any) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise RefusedError("a complex number that is not made of two numbers")
    return complex(real, imaginary)


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _object(kind: Any, *_: Any) -> Attributes:
    """``copyreg._reconstructor(kind, object, None)``: an object before it gets its attributes."""
    if kind is not Attributes:
        raise RefusedError("an object of a type that is not on the list")
    return Attributes()


def _of_each(modules: tuple[str, ...], names: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {(module, name): meaning for module in modules for name, meaning in names.items()}


ALLOWED: Mapping[tuple[str, str], Any] = {
    **_of_each(
        ("builtins", "__builtin__"),
        {
            **{name: Type() for name in ("bool", "float", "int", "long", "object", "str", "unicode", "tuple")},
            **{kind.__name__: Function(kind) for kind in (dict, frozenset, list, set)},
            "bytearray": Function(_byte_string),
            "bytes": Function(_byte_string),
            "complex": Function(_complex),
        },
    ),
    ("collections", "OrderedDict"): Function(dict),
    ("collections", "defaultdict"): Function(_default_dict),
    ("_codecs", "encode"): Function(_byte_string),
    ("numpy", "ndarray"): Type(),
    ("numpy", "dtype"): Function(Dtype),
    **_of_each(
        ("numpy.core.multiarray", "numpy._core.multiarray"),
        {"_reconstruct": Function(_array), "scalar": Function(_scalar)},
    ),
    **_of_each(("numpy.core.numeric", "numpy._core.numeric"), {"_frombuffer": Function(_array_from_buffer)}),
    **_of_each(("copyreg", "copy_reg"), {"_reconstructor": Function(_object)}),
    **_of_each(
        ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse.csr", "scipy.sparse._csr"),
        {"csc_matrix": Attributes, "csr_matrix": Attributes},
    ),
    ("chumpy.ch", "Ch"): Attributes,
    ("chumpy.reordering", "Select"): Attributes,
}
"""The allow-list: every name that a pickle may use, with the entry that replaces it."""
