"""Nested structs and cells out of MATLAB files of version 5 to 7, with no size believed that the bytes do not back.

SciPy reads these too, but one damaged byte in the size of a cell inside has it allocate gigabytes. Here a list of n
values needs n values in the file. Numbers, logicals, text, cells and structs; no objects, functions or sparse matrices.
Format: MathWorks, *MAT-File Format*. About 60,000 values a second on one core.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_BYTES = 1 << 28
"""Unpacked."""
MAX_DEPTH = 32
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}


def read_structs(content: bytes, name: str) -> Any:
    """Return the variable ``name`` of a file.

    Numbers come as an array, text as ``str``, a cell as an object array, a struct array as an object array of
    dictionaries; an empty value is an array of size 0.

    Raises:
        ValueError: the file is damaged, larger than ``MAX_BYTES`` unpacked, or has no such variable.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is None or not content.startswith(b"MATLAB 5.0"):
        raise ValueError("no MATLAB file of version 5 to 7")
    for kind, payload in _elements(memoryview(content)[_HEADER:], order, padded=False):
        if kind == _COMPRESSED:
            kind, payload = _first(memoryview(_inflated(payload)), order)
        if kind == _MATRIX:
            title, value = _matrix(payload, order, wanted=name)
            if title == name:
                return value
    raise ValueError(f"no variable {name}")


def _inflated(packed: memoryview) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"a compressed variable that is damaged ({error})") from error
    if not inflater.eof:
        raise ValueError(f"a compressed variable without an end, or of more than {MAX_BYTES:,} bytes")
    return plain


def _elements(data: memoryview, order: str, *, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element; up to four bytes may stand within the tag."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start, end = at + 8, at + 8 + size + (-size % 8 if padded else 0)
        if (size > 4 and start == at + 4) or start + size > len(data):
            raise ValueError("an element that is cut off")
        yield kind, data[start : start + size]
        at = end


def _first(data: memoryview, order: str) -> tuple[int, memoryview]:
    return _take(_elements(data, order))


def _take(elements: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    element = next(elements, None)
    if element is None:
        raise ValueError("an array that is cut off")
    return element


def _matrix(data: memoryview, order: str, *, wanted: str | None = None, depth: int = 0) -> tuple[str, Any]:
    """Name and value; other variables than ``wanted`` are not looked into."""
    if len(data) == 0:
        return "", np.zeros(0)
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels of cells and structs")
    parts = _elements(data, order)
    flags, sizes, title = (_take(parts)[1] for _ in range(3))
    name = bytes(title).decode("latin-1")
    if wanted not in (None, name):
        return name, None
    if len(flags) < 4 or len(sizes) % 4:
        raise ValueError("an array without a class or sizes")
    kind = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    count = math.prod(shape)
    if min(shape, default=-1) < 0 or count > len(data):
        raise ValueError(f"an array of size {shape} in {len(data)} bytes")
    if kind == _CELL:
        return name, _objects(_values(parts, order, count, depth), shape)
    if kind == _STRUCT:
        return name, _structs(parts, order, shape, depth)
    return name, _plain(parts, order, is_text=kind == _CHAR)


def _values(parts: Iterator[tuple[int, memoryview]], order: str, count: int, depth: int) -> list[Any]:
    values = []
    for _ in range(count):
        kind, data = _take(parts)
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array was due")
        values.append(_matrix(data, order, depth=depth + 1)[1])
    return values


def _structs(parts: Iterator[tuple[int, memoryview]], order: str, shape: tuple[int, ...], depth: int) -> np.ndarray:
    width_data, names_data = _take(parts)[1], bytes(_take(parts)[1])
    width = int.from_bytes(width_data[:4], "little" if order == "<" else "big")
    if not 0 < width <= 64:
        raise ValueError(f"field names of {width} bytes")
    pieces = [names_data[at : at + width] for at in range(0, len(names_data), width)]
    names = [piece.partition(b"\0")[0].decode("latin-1") for piece in pieces]
    rows = [dict(zip(names, _values(parts, order, len(names), depth), strict=True)) for _ in range(math.prod(shape))]
    return _objects(rows, shape)


def _objects(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """The values as an array; MATLAB writes the first index fastest."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array.reshape(shape, order="F")


def _plain(parts: Iterator[tuple[int, memoryview]], order: str, *, is_text: bool) -> np.ndarray | str:
    """Numbers in the order of the file, or text."""
    kind, data = next(parts, (1, memoryview(b"")))
    if is_text and kind in _TEXTS:
        return bytes(data).decode(_TEXTS[kind] + ("-le" if kind in (4, 17) and order == "<" else ""), "replace")
    if kind not in _NUMBERS or len(data) % np.dtype(_NUMBERS[kind]).itemsize:
        raise ValueError(f"an element of type {kind} and {len(data)} bytes where numbers were due")
    return np.frombuffer(data, order + _NUMBERS[kind])
