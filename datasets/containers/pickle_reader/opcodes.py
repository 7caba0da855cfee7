"""The steps of a pickle's program, building data alone: the middle part of ``pickles.py``.

Each step does what Python's documentation of the format (``pickletools``) says, on types that are known: items go into
lists, dicts and sets only, a state into arrays, dtypes and inert objects only, a call to a name on the list only.
"""

import pickle
import struct
from collections.abc import Callable
from typing import Any

from datasets.containers.pickle_reader.machine import OBJECT_BYTES, Machine, size_of_copy
from datasets.containers.pickle_reader.values import Global, Inert, Pending, RefusedError, is_inert, key_of

DAMAGE = (IndexError, KeyError, ValueError, TypeError, OverflowError, EOFError, MemoryError, struct.error)
"""What steps on damaged bytes raise."""


def run(content: bytes) -> Any:
    """Return the data that a pickle builds.

    Raises:
        RefusedError: it wants something that is not data, or too much of it.
        one of DAMAGE: it is no whole pickle.
    """
    machine = Machine(content)
    steps = [_STEPS.get(bytes((code,)), _unknown) for code in range(256)]
    while (code := content[machine.at]) != pickle.STOP[0]:
        machine.at += 1
        steps[code](machine)
    if rest := len(content[machine.at + 1 :].rstrip()):
        raise ValueError(f"{rest:,} more bytes after its end")
    return machine.pop()


def _unknown(machine: Machine) -> None:
    raise ValueError(f"no step of a pickle at byte {machine.at - 1:,}")


_Step = Callable[[Machine], None]


def _constant(value: Any) -> _Step:
    return lambda machine: machine.push(value)


def _number(layout: str) -> Callable[[Machine], Any]:
    fixed = struct.Struct(layout)
    return lambda machine: fixed.unpack(machine.take(fixed.size))[0]


def _push(read: Callable[[Machine], Any]) -> _Step:
    return lambda machine: machine.push(read(machine))


def _sized(layout: str, decode: Callable[[bytes], Any]) -> _Step:
    size = _number(layout)
    return lambda machine: machine.push(decode(machine.take(size(machine))))


def _raw(layout: str) -> _Step:
    size = _number(layout)
    return lambda machine: machine.push(machine.take_raw(size(machine)))


def _python2(layout: str) -> _Step:
    """Python 2 has one type for text and bytes: what is long is an array's bytes."""
    size = _number(layout)

    def push(machine: Machine) -> None:
        raw = machine.take_raw(size(machine))
        machine.push(raw.decode("latin-1") if isinstance(raw, bytes) else raw)

    return push


def _line(decode: Callable[[bytes], Any]) -> _Step:
    return lambda machine: machine.push(decode(machine.take_line()))


def _get(index: Callable[[Machine], int]) -> _Step:
    return lambda machine: machine.push(machine.memo[index(machine)])


def _put(index: Callable[[Machine], int]) -> _Step:
    return lambda machine: machine.remember(index(machine))


def _empty(kind: Callable[[], Any]) -> _Step:
    return lambda machine: machine.push_made(kind())


def _last(count: int) -> _Step:
    def push(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push_made(tuple(reversed(values)))

    return push


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _int_line(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _string_line(line: bytes) -> str:
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    return line[1:-1].decode("unicode_escape")


def _append(machine: Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise RefusedError(f"items for {type(target).__name__}")
    machine.spend(8 * len(values))
    target += values


def _set_items(machine: Machine, pairs: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict):
        raise RefusedError(f"items for {type(target).__name__}")
    machine.spend(OBJECT_BYTES * len(pairs) // 2)
    target.update(_dict_of(pairs))


def _dict_of(pairs: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(key_of, pairs[::2]), pairs[1::2], strict=True))


def _add_members(machine: Machine) -> None:
    values, target = machine.pop_to_mark(), machine.stack[-1]
    if not isinstance(target, set):
        raise RefusedError(f"members for {type(target).__name__}")
    machine.spend(OBJECT_BYTES * len(values))
    target.update(map(key_of, values))


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _new_object(machine: Machine) -> None:
    """NEWOBJ: an object of a class, before it gets its attributes."""
    _, kind = machine.pop(), machine.pop()
    if not (isinstance(kind, Global) and is_inert(kind)):
        what = kind if isinstance(kind, Global) else f"a {type(kind).__name__}"
        raise RefusedError(f"an object of {what}"[:200])
    machine.push_made(Inert())


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.stack[-1]
    if not isinstance(target, Pending | Inert):
        raise RefusedError(f"a state for {type(target).__name__}")
    machine.spend(sum(map(size_of_copy, state)) if isinstance(state, tuple) else OBJECT_BYTES * len(state))
    target.build(state)


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _instance(machine: Machine) -> None:
    """INST of Python 2: an object of the class named in the next two lines, from the arguments above the mark."""
    module, name = _text(machine.take_line()), _text(machine.take_line())
    arguments = tuple(machine.pop_to_mark())
    machine.push_name(module, name)
    machine.call(machine.pop(), arguments)


def _object(machine: Machine) -> None:
    """OBJ of Python 2: the same, with the class under the arguments."""
    kind, *arguments = machine.pop_to_mark()
    machine.call(kind, tuple(arguments))


def _refuse(what: str) -> _Step:
    def refuse(_: Machine) -> None:
        raise RefusedError(what)

    return refuse


_OUTSIDE = "a reference to something outside the pickle, such as a storage of torch"
_BYTE, _SHORT, _SIGNED, _WORD, _LONG = "<B", "<H", "<i", "<I", "<Q"
_STEPS: dict[bytes, _Step] = {
    pickle.PROTO: lambda machine: machine.skip(1),
    pickle.FRAME: lambda machine: machine.skip(8),
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.BININT: _push(_number(_SIGNED)),
    pickle.BININT1: _push(_number(_BYTE)),
    pickle.BININT2: _push(_number(_SHORT)),
    pickle.BINFLOAT: _push(_number(">d")),
    pickle.LONG1: _sized(_BYTE, _long),
    pickle.LONG4: _sized(_SIGNED, _long),
    pickle.INT: _line(_int_line),
    pickle.LONG: _line(lambda line: int(line.rstrip(b"L"))),
    pickle.FLOAT: _line(float),
    pickle.STRING: _line(_string_line),
    pickle.UNICODE: _line(lambda line: line.decode("raw-unicode-escape")),
    pickle.SHORT_BINUNICODE: _sized(_BYTE, _text),
    pickle.BINUNICODE: _sized(_WORD, _text),
    pickle.BINUNICODE8: _sized(_LONG, _text),
    pickle.SHORT_BINSTRING: _python2(_BYTE),
    pickle.BINSTRING: _python2(_SIGNED),
    pickle.SHORT_BINBYTES: _raw(_BYTE),
    pickle.BINBYTES: _raw(_WORD),
    pickle.BINBYTES8: _raw(_LONG),
    pickle.BYTEARRAY8: _raw(_LONG),
    pickle.EMPTY_LIST: _empty(list),
    pickle.EMPTY_DICT: _empty(dict),
    pickle.EMPTY_SET: _empty(set),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.LIST: lambda machine: machine.push_made(machine.pop_to_mark()),
    pickle.TUPLE: lambda machine: machine.push_made(tuple(machine.pop_to_mark())),
    pickle.DICT: lambda machine: machine.push_made(_dict_of(machine.pop_to_mark())),
    pickle.FROZENSET: lambda machine: machine.push_made(frozenset(map(key_of, machine.pop_to_mark()))),
    pickle.TUPLE1: _last(1),
    pickle.TUPLE2: _last(2),
    pickle.TUPLE3: _last(3),
    pickle.APPEND: lambda machine: _append(machine, [machine.pop()]),
    pickle.APPENDS: lambda machine: _append(machine, machine.pop_to_mark()),
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda machine: _set_items(machine, machine.pop_to_mark()),
    pickle.ADDITEMS: _add_members,
    pickle.POP: _pop,
    pickle.POP_MARK: lambda machine: machine.pop_to_mark().clear(),
    pickle.DUP: lambda machine: machine.push(machine.stack[-1]),
    pickle.GET: _get(lambda machine: int(machine.take_line())),
    pickle.BINGET: _get(_number(_BYTE)),
    pickle.LONG_BINGET: _get(_number(_WORD)),
    pickle.PUT: _put(lambda machine: int(machine.take_line())),
    pickle.BINPUT: _put(_number(_BYTE)),
    pickle.LONG_BINPUT: _put(_number(_WORD)),
    pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
    pickle.GLOBAL: lambda machine: machine.push_name(_text(machine.take_line()), _text(machine.take_line())),
    pickle.STACK_GLOBAL: lambda machine: machine.push_name(*reversed((machine.pop(), machine.pop()))),
    pickle.INST: _instance,
    pickle.OBJ: _object,
    pickle.REDUCE: _reduce,
    pickle.NEWOBJ: _new_object,
    pickle.BUILD: _build,
    pickle.PERSID: _refuse(_OUTSIDE),
    pickle.BINPERSID: _refuse(_OUTSIDE),
    pickle.NEXT_BUFFER: _refuse(_OUTSIDE),
    pickle.READONLY_BUFFER: _refuse(_OUTSIDE),
    pickle.EXT1: _refuse("a name of Python's extension registry"),
    pickle.EXT2: _refuse("a name of Python's extension registry"),
    pickle.EXT4: _refuse("a name of Python's extension registry"),
    pickle.NEWOBJ_EX: _refuse("an object made with keywords"),
}
