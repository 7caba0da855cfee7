"""Pickles as Python 2 with numpy writes them (protocol 2): one kind of text for names and bytes, arrays through
`numpy.core.multiarray._reconstruct`. Written from the steps that the module `pickletools` describes."""

import struct
from typing import Any

import numpy as np


def dumps2(value: Any) -> bytes:
    """The pickle of dictionaries, lists, texts, whole numbers, floats and arrays of numbers."""
    return b"\x80\x02" + _steps(value) + b"."


def _steps(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_steps(key) + _steps(item) for key, item in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_steps, value)) + b"e"
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    return _text(value if isinstance(value, bytes) else value.encode("latin-1"))


def _text(raw: bytes) -> bytes:
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


def _array(array: np.ndarray) -> bytes:
    code = array.dtype.str
    shape = b"(" + b"".join(_steps(int(size)) for size in array.shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + _text(code[1:].encode()) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + _text(code[:1].encode()) + b"NNN" + _steps(-1) + _steps(-1) + b"K\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text(b"b") + b"\x87R"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + _text(array.tobytes()) + b"tb"
