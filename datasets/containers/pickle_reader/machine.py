"""The stack machine that a pickle is a program for, without its steps: the inner part of ``pickles.py``.

It accounts for the memory that the pickle asks for before it is used, and lets no name through that is not on the list.
"""

import sys
from typing import Any

from datasets.containers.pickle_reader.values import ALLOWED, Global, Pending, RefusedError

VIEW_FROM = 4096
"""Byte strings from this length on are not copied out of the file."""
BASE_MEMORY, MEMORY_PER_BYTE, MAX_MEMORY = 1 << 26, 64, 1 << 33
OBJECT_BYTES = 50
"""What a place on the stack, in a container or in the memo is counted as."""


class Machine:
    """The state of the program: where it stands, its stack with marks, its memo, and the memory it may still use."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.memory_left = BASE_MEMORY + min(MEMORY_PER_BYTE * len(content), MAX_MEMORY)

    def take(self, size: int) -> bytes:
        """Return the next bytes of the program."""
        start = self.at
        if not 0 <= size <= len(self.content) - start:
            raise EOFError(f"{size:,} bytes wanted at byte {start:,} of {len(self.content):,}")
        self.at = start + size
        return self.content[start : self.at]

    def take_raw(self, size: int) -> bytes | memoryview:
        """Return the next bytes of the program, uncopied if they are many."""
        if size < VIEW_FROM:
            return self.take(size)
        start = self.at
        self.skip(size)
        return memoryview(self.content)[start : self.at]

    def skip(self, size: int) -> None:
        """Go on by some bytes."""
        if size > len(self.content) - self.at:
            raise EOFError(f"{size:,} bytes wanted at byte {self.at:,} of {len(self.content):,}")
        self.at += size

    def take_line(self) -> bytes:
        """Return the bytes up to the next line feed, which is passed."""
        start, end = self.at, self.content.index(b"\n", self.at)
        self.at = end + 1
        return self.content[start:end]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def push_made(self, container: Any) -> None:
        """Put a new container on the stack."""
        self.spend(OBJECT_BYTES + sys.getsizeof(container))
        self.push(container)

    def pop(self) -> Any:
        """Return the top as data; what lies below the last mark is out of reach."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError("nothing on the stack")
        return _data(self.stack.pop())

    def pop_to_mark(self) -> list[Any]:
        """Return everything above the last mark as data, and take the mark away."""
        start = self.marks.pop()
        values = [_data(value) for value in self.stack[start:]]
        del self.stack[start:]
        return values

    def remember(self, index: int) -> None:
        """Put the top of the stack into the memo."""
        self.spend(OBJECT_BYTES)
        self.memo[index] = self.stack[-1]

    def spend(self, size: int) -> None:
        """Account for memory that is about to be used."""
        self.memory_left -= size
        if self.memory_left < 0:
            raise RefusedError("far more objects than a file of this size has room for")

    def push_name(self, module: Any, name: Any) -> None:
        """Put a name on the stack, if it is on the list."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("a name that is no text")
        if (module, name) not in ALLOWED:
            raise RefusedError(f"{module}.{name}"[:200] + ", which would be run")
        self.push(Global(module, name))

    def call(self, function: Any, arguments: Any) -> None:
        """Put on the stack what a name makes of its arguments."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise RefusedError(f"a call of {type(function).__name__}")
        self.spend(OBJECT_BYTES + sum(map(size_of_copy, arguments)))
        self.push(ALLOWED[function.module, function.name](arguments))


def _data(value: Any) -> Any:
    return value.value if isinstance(value, Pending) else value


def size_of_copy(value: Any) -> int:
    """Return what a copy of an argument would need: one that the memo holds can be copied any number of times."""
    if isinstance(value, list | tuple):
        return 64 * len(value)
    return len(value) if isinstance(value, str | bytes | memoryview) else 0
