"""The value of one array of a MATLAB file of version 5 to 7, with no size believed that the bytes do not back.

Numbers, logicals, text, cells and structs, as views of the bytes where that can be; no objects, functions, sparse or
complex matrices. A value in a cell or struct costs about 300 bytes of Python and takes 56 in the file, an empty one 8:
``MAX_VALUES`` keeps that below 0.7 GB. About 60,000 such values a second on one core.
Format: MathWorks, *MAT-File Format*.
"""

import math
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

Order = Literal["<", ">"]
Elements = Iterator[tuple[int, memoryview]]

MATRIX = 14
MAX_DEPTH = 32
MAX_VALUES = 2**21
"""In the cells and structs of one variable; the largest of Bonn PoseTrack have about 0.6 million."""
_MAX_EMPTY = 2**20
"""Length of an array's side where another side is 0."""
_MAX_FIELDS = 4096
_SMALL = 1024
"""Bytes of an array that are better copied than kept as a view, which takes 200 more of Python."""
_MAX_LETTERS = 2**22
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_LOGICAL, _COMPLEX = 0x200, 0x800
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


class Header(NamedTuple):
    """What an array says of itself before its values."""

    name: str
    kind: int
    flags: int
    shape: tuple[int, ...]

    @property
    def is_readable(self) -> bool:
        """Whether it is of a class that ``read_value`` reads."""
        return self.kind in (_CELL, _STRUCT, _CHAR) or (self.kind in _NUMERIC and not self.flags & _COMPLEX)


def read_header(data: memoryview, order: Order) -> Header:
    """Read the header of an array of which at least the beginning is there.

    Raises:
        ValueError: it is damaged.
    """
    return _header(_elements(data, order), order)


def read_value(data: memoryview, order: Order) -> np.ndarray | str:
    """Return the value of an array: numbers and logicals as an array, a single text as ``str``.

    Several texts come as an array of ``str``, a cell as an object array, a struct array as an object array of
    dictionaries.

    Raises:
        ValueError: it is damaged, or of a class that is not read.
    """
    return _Values(order).value(data)


def _elements(data: memoryview, order: Order) -> Elements:
    """Type and content of each element; up to four bytes may stand within the tag."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start, end = at + 8, at + 8 + size + -size % 8
        if (size > 4 and start == at + 4) or start + size > len(data):
            raise ValueError("an element that is cut off")
        yield kind, data[start : start + size]
        at = end


def _take(elements: Elements) -> tuple[int, memoryview]:
    element = next(elements, None)
    if element is None:
        raise ValueError("an array that is cut off")
    return element


def _header(parts: Elements, order: Order) -> Header:
    flags = _take(parts)[1]
    if len(flags) < 4:
        raise ValueError("an array without a class")
    (bits,) = struct.unpack_from(f"{order}I", flags)
    kind = bits & 0xFF
    if kind == _OPAQUE:  # laid out in another way
        return Header(name="", kind=kind, flags=bits, shape=())
    sizes, name = _take(parts)[1], _take(parts)[1]
    if len(sizes) % 4 or not 0 < len(sizes) <= 4 * 32:
        raise ValueError("an array without sizes")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    return Header(name=bytes(name[:256]).decode("latin-1"), kind=kind, flags=bits, shape=shape)


class _Values:
    """Reads the values of one variable, and counts them."""

    def __init__(self, order: Order) -> None:
        self._order: Order = order
        self._left = MAX_VALUES

    def value(self, data: memoryview, depth: int = 0) -> np.ndarray | str:
        if len(data) == 0:
            return np.zeros((0, 0))
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels of cells and structs")
        parts = _elements(data, self._order)
        header = _header(parts, self._order)
        if not header.is_readable:
            raise ValueError(f"an object, a function, or a sparse or complex matrix (class {header.kind})")
        count = math.prod(header.shape)
        if min(header.shape) < 0 or max(header.shape) > max(len(data), _MAX_EMPTY):
            raise ValueError(f"an array of size {header.shape} in {len(data)} bytes")
        if header.kind == _CELL:
            return _objects(self._many(parts, count, depth), header.shape)
        if header.kind == _STRUCT:
            return _objects(self._rows(parts, count, depth), header.shape)
        return _text(parts, header, self._order) if header.kind == _CHAR else _numbers(parts, header, self._order)

    def _many(self, parts: Elements, count: int, depth: int) -> list[np.ndarray | str]:
        self._count(count)
        values = []
        for _ in range(count):
            kind, data = _take(parts)
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind} where an array was due")
            values.append(self.value(data, depth + 1))
        return values

    def _rows(self, parts: Elements, count: int, depth: int) -> list[dict[str, np.ndarray | str]]:
        self._count(count)
        width_data, names_data = _take(parts)[1], bytes(_take(parts)[1])
        width = int.from_bytes(width_data[:4], "little" if self._order == "<" else "big")
        if not 0 < width <= 64 or len(names_data) > _MAX_FIELDS * width:
            raise ValueError(f"field names of {width} bytes in {len(names_data)}")
        pieces = [names_data[at : at + width] for at in range(0, len(names_data), width)]
        names = [piece.partition(b"\0")[0].decode("latin-1") for piece in pieces]
        return [dict(zip(names, self._many(parts, len(names), depth), strict=True)) for _ in range(count)]

    def _count(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"more than {MAX_VALUES:,} values in cells and structs")


def _objects(values: list, shape: tuple[int, ...]) -> np.ndarray:
    """The values as an array; MATLAB writes the first index fastest."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array.reshape(shape, order="F")


def _numbers(parts: Elements, header: Header, order: Order) -> np.ndarray:
    kind, data = next(parts, (1, memoryview(b"")))
    dtype = np.dtype(order + _NUMBERS.get(kind, "i1"))
    if kind not in _NUMBERS or len(data) != math.prod(header.shape) * dtype.itemsize:
        raise ValueError(f"an element of type {kind} and {len(data)} bytes where {header.shape} numbers were due")
    array = np.frombuffer(data, dtype).reshape(header.shape, order="F")
    if header.flags & _LOGICAL:
        return array != 0
    return array.astype(dtype.newbyteorder("="), copy=len(data) < _SMALL)


def _text(parts: Elements, header: Header, order: Order) -> np.ndarray | str:
    kind, data = next(parts, (1, memoryview(b"")))
    if kind not in _TEXTS or len(data) > _MAX_LETTERS:
        raise ValueError(f"an element of type {kind} and {len(data):,} bytes where text was due")
    encoding = _TEXTS[kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = bytes(data).decode(encoding, "replace")
    *outer, width = header.shape
    if math.prod(outer) == 1 or len(text) == 0:
        return text
    if len(text) != math.prod(header.shape):
        raise ValueError(f"{len(text)} characters where {header.shape} were due")
    letters = np.frombuffer(text.encode("utf-32-le", "replace"), "<U1").reshape(header.shape, order="F")
    return np.ascontiguousarray(letters).view(f"<U{width}")[..., 0]
