"""Variables of MATLAB files of version 5 to 7, read by SciPy.

One damaged byte can crash SciPy's process (the type of a name or of numbers: byte 180 or 192 of a file with one
matrix), or make it request gigabytes (a size). Neither is caught here: extraction reads files in a sandbox
(``datasets.sandbox``), and so does ``shapes_in``, which opens every MATLAB file of the input. Only the requested
variables are unpacked. Version 7.3 is HDF5: see ``hdf5.py``.
"""

import io
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.io import loadmat, whosmat

from datasets.containers.damage import blame_file
from datasets.files import head, url_to_fs
from datasets.sandbox.calls import value_of
from datasets.sequences import File, RecordingError

_MAGIC = b"MATLAB 5.0"
_HEADER = 128
_CHUNK = 1 << 18
_DATA = frozenset(
    {
        *("double", "single", "logical", "char", "cell", "struct"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    }
)
"""SciPy's names for the classes of variables that are data; all others are objects, functions and sparse matrices."""


@lru_cache(maxsize=4096)
def shapes_in(file: File) -> Mapping[str, tuple[int, ...]]:
    """Return name and shape of the variables that are data; empty for other and for damaged files."""
    if not head(file).startswith(_MAGIC):
        return {}
    return {name: tuple(shape) for name, shape in value_of(_shapes, file, default={}).items()}


def _shapes(path: str) -> dict[str, list[int]]:
    try:
        with _opened(path) as file:
            return {str(name): list(map(int, shape)) for name, shape, kind in whosmat(file) if kind in _DATA}
    except RecordingError:
        return {}


def read_variables(path: str, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the named variables that the file contains.

    Their form is SciPy's: numbers in the type in which they are stored, logicals as uint8, text as an array of ``str``
    without the last dimension, cells as object arrays, structs as structured arrays.

    Raises:
        RecordingError: The file is damaged, or one of them is an object, a function, or a sparse or complex matrix.
    """
    with _opened(path) as file:
        is_little_endian = file.peek(_HEADER)[_HEADER - 2 : _HEADER] == b"IM"
        codec = "utf-16-le" if is_little_endian else "utf-16-be"
        found = loadmat(file, variable_names=list(names), uint16_codec=codec)
    values = {name: found[name] for name in names if name in found}
    for name, value in values.items():
        if type(value) is not np.ndarray or value.dtype.kind == "c":
            raise _error(path, name, f"an object, a function, or a sparse or complex matrix ({type(value).__name__})")
    return values


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    """Open a file at a local path or any fsspec URL; SciPy's errors become a ``RecordingError``."""
    try:
        filesystem, inner = url_to_fs(path)
        opened: Any = filesystem.open(inner, "rb")
    except (FileNotFoundError, PermissionError) as error:
        raise _error(path, "file", str(error)) from error
    with io.BufferedReader(opened, _CHUNK) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about variables that occur twice
        if not file.peek(len(_MAGIC)).startswith(_MAGIC):
            raise _error(path, "header", "another file, or version 7.3")
        with blame_file(lambda found: _error(path, "variables", found)):
            yield file


def _error(path: str, where: str, found: str) -> RecordingError:
    return RecordingError(
        path,
        where=where,
        expected="a complete MATLAB file of version 5 to 7, with numbers, text, cells or structs",
        found=found,
        fix="Fetch it again, or save it with -v7.",
    )
