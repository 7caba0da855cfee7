"""Variables of MATLAB files of version 5 to 7, with bounds on what a damaged or hostile one can cost.

The file is a header of 128 bytes and then one element per variable, most often compressed. Elements are read one by
one from wherever the file lies: what nobody asks for is not unpacked, so that memory stays near the size of what is
asked for. A size is believed only as far as the bytes of the file back it (zlib cannot unpack one byte into more than
1032). Values: see ``matlab_arrays``. Version 7.3 is HDF5: see ``hdf5``. Format: MathWorks, *MAT-File Format*.

SciPy reads the format too, but one damaged byte in a type or a size can end its process or have it allocate gigabytes.
"""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.containers.matlab_values import MATRIX, Header, Order, read_header, read_value
from datasets.files import head, url_to_fs
from datasets.sequences import File, RecordingError

MAX_BYTES = 512 * 2**20
"""Of the variables asked for, once unpacked; the largest of MPI-INF-3DHP (14 cameras, 12,820 frames) have 200 MB."""
MAX_VARIABLES = 4096
_MAGIC = b"MATLAB 5.0"
_HEADER = 128
_TAG = 8
_COMPRESSED = 15
_FIRST = 1024
"""Bytes that hold class, sizes and name: sizes have at most 128 bytes, names 63."""
_CHUNK, _PIECE = 2**16, 2**18
"""Bytes packed and unpacked that are handled at once."""
_MOST_PACKED = 1032


@lru_cache(maxsize=4096)
def shapes_in(file: File) -> Mapping[str, tuple[int, ...]]:
    """Return name and shape of the variables that can be read; nothing for what is no such file, or a damaged one."""
    if not head(file).startswith(_MAGIC):
        return {}
    try:
        with _opened(file.path) as source:
            return {each.header.name: each.header.shape for each in _variables(source) if each.header.is_readable}
    except RecordingError:
        return {}


def read_variables(path: str, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the variables that the file has.

    Numbers come in the type that they are stored in, logicals as bool, text as an array of ``str`` without the last
    dimension, cells as object arrays of such values (with single texts as ``str``), structs as object arrays of
    dictionaries.

    Raises:
        RecordingError: The file is damaged or too large, or one of them is an object, a function, or a sparse or
            complex matrix.
    """
    found: dict[str, np.ndarray] = {}
    left = MAX_BYTES
    with _opened(path) as source:
        for variable in _variables(source):
            name = variable.header.name
            if name not in names or name in found:
                continue
            try:
                content = _content(source, variable, left)
                found[name] = np.asarray(read_value(content, source.order))
            except (ValueError, struct.error, zlib.error) as error:
                raise _error(path, name, str(error)) from error
            left -= len(content)
            if len(found) == len(set(names)):
                break
    return found


@dataclass(frozen=True, kw_only=True)
class _Source:
    file: Any
    size: int
    order: Order


@dataclass(frozen=True, kw_only=True)
class _Variable:
    header: Header
    start: int
    size: int
    is_compressed: bool


@contextmanager
def _opened(path: str) -> Iterator[_Source]:
    """Open a file, at a local path or any fsspec URL; what is wrong with its elements is a ``RecordingError``."""
    try:
        filesystem, inner = url_to_fs(path)
        opened: Any = filesystem.open(inner, "rb")
    except (FileNotFoundError, PermissionError) as error:
        raise _error(path, "file", str(error)) from error
    with opened as file:
        start = file.read(_HEADER)
        orders: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
        order = orders.get(start[126:])
        if order is None or not start.startswith(_MAGIC):
            raise _error(path, "header", "version 7.3" if start.startswith(b"MATLAB 7.3") else "another file")
        size = file.seek(0, 2)
        try:
            yield _Source(file=file, size=size, order=order)
        except RecordingError:
            raise
        except (ValueError, struct.error, zlib.error) as error:
            raise _error(path, "variables", str(error)) from error


def _variables(source: _Source) -> Iterator[_Variable]:
    """Find the variables, and read no more of them than their beginnings."""
    at = _HEADER
    for _ in range(MAX_VARIABLES):
        if at + _TAG > source.size:
            return
        kind, size = struct.unpack(f"{source.order}II", _read(source, at, _TAG))
        at += _TAG
        if kind not in (MATRIX, _COMPRESSED) or at + size > source.size:
            raise ValueError(f"an element of type {kind} and {size:,} bytes, {source.size - at:,} before the end")
        first = _read(source, at, min(size, _FIRST))
        if kind == _COMPRESSED:
            first = zlib.decompressobj().decompress(first, _FIRST)[_TAG:]
        if first:
            header = read_header(memoryview(first), source.order)
            yield _Variable(header=header, start=at, size=size, is_compressed=kind == _COMPRESSED)
        at += size
    raise ValueError(f"more than {MAX_VARIABLES:,} variables")


def _content(source: _Source, variable: _Variable, limit: int) -> memoryview:
    if variable.is_compressed:
        return memoryview(_inflated(source, variable, limit))
    if variable.size > limit:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    return memoryview(_read(source, variable.start, variable.size))


def _inflated(source: _Source, variable: _Variable, limit: int) -> bytearray:
    """Unpack into as many bytes as the tag within says, piece by piece."""
    inflater = zlib.decompressobj()
    pieces = _pieces(source, variable)
    packed = next(pieces, b"")
    kind, size = struct.unpack(f"{source.order}II", inflater.decompress(packed, _TAG).ljust(_TAG, b"\0"))
    if kind != MATRIX or size > _MOST_PACKED * variable.size:
        raise ValueError(f"a compressed element of type {kind} and {size:,} bytes in {variable.size:,}")
    if size > limit:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    plain, at = bytearray(size), 0
    while at < size and not inflater.eof and (packed := inflater.unconsumed_tail or next(pieces, b"")):
        piece = inflater.decompress(packed, min(size - at, _PIECE))
        plain[at : at + len(piece)] = piece
        at += len(piece)
    while not inflater.eof and (packed := inflater.unconsumed_tail or next(pieces, b"")):
        if inflater.decompress(packed, 1):
            raise ValueError("a compressed element with more in it than it says")
    if at < size or not inflater.eof:
        raise ValueError("a compressed element without an end")
    return plain


def _pieces(source: _Source, variable: _Variable) -> Iterator[bytes]:
    end = variable.start + variable.size
    for at in range(variable.start, end, _CHUNK):
        yield _read(source, at, min(_CHUNK, end - at))


def _read(source: _Source, at: int, size: int) -> bytes:
    source.file.seek(at)
    return source.file.read(size)


def _error(path: str, where: str, found: str) -> RecordingError:
    return RecordingError(
        path,
        where=where,
        expected="a whole MATLAB file of version 5 to 7, with numbers, text, cells or structs",
        found=found,
        fix="Fetch it again, or save it with -v7.",
    )
