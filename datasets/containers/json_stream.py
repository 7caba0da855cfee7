"""Read a JSON document part by part, since the detections of an hour of video can be one file of gigabytes.

Parsed as a whole, such a file needs five times its size in memory; here only one part is in memory. Unlike other
streaming parsers, this one accepts NaN and Infinity, which detectors do write.
"""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from datasets.files import url_to_fs
from datasets.sequences import RecordingError

CHUNK = 1 << 20
MAX_PART = 64 << 20
"""Characters; a longer part is not a detection, or it is damaged."""
_SPACE = " \t\r\n"
_MAY_GO_ON = ("", ".", "e", "E")
"""Characters that may continue a number at the end of the text read so far."""


def stream(path: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a document: the items of a list under the key "", or the members of an object.

    A member that is a list is yielded item by item, each under the member's key; an empty list yields nothing.

    Raises:
        RecordingError: The file cannot be read, or is not a complete JSON document.
    """
    filesystem, inner = url_to_fs(path)
    try:
        with filesystem.open(inner, "rb") as file:
            yield from _document(_Text(file, path))
    except (FileNotFoundError, PermissionError) as error:
        raise _error(path, "a readable file", str(error)) from error


class _Text:
    """The document's text, of which only the current part is in memory."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self.path = path
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is not white space, or "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read_on()

    def take(self, choice: str) -> str:
        """Skip the next character, which must be one of ``choice``."""
        found = self.peek()
        if not found or found not in choice:
            raise _error(self.path, " or ".join(choice), f"{found!r}" if found else "the end of the file")
        self._at += 1
        return found

    def value(self) -> Any:
        """Parse the next value."""
        self.peek()
        while True:
            is_last = self._ended or len(self._text) - self._at > MAX_PART
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                if is_last:
                    raise _error(self.path, "a complete JSON document", str(error)) from error
            except (ValueError, RecursionError) as error:
                raise _error(self.path, "a JSON document", str(error)) from error
            else:
                if is_last or self._text[end : end + 1] not in _MAY_GO_ON:
                    self._at = end
                    return value
            self._read_on()

    def _read_on(self) -> None:
        """Double the buffered text, so that a long part is not parsed again and again."""
        content = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._ended = not content
        try:
            self._text = self._text[self._at :] + self._decoder.decode(content, final=self._ended)
        except UnicodeDecodeError as error:
            raise _error(self.path, "text in UTF-8", str(error)) from error
        self._at = 0


def _document(text: _Text) -> Iterator[tuple[str, Any]]:
    if text.peek() == "{":
        yield from _members(text)
    elif text.peek() == "[":
        yield from _items(text, "")
    else:
        text.take("{[")
    if text.peek():
        raise _error(text.path, "the end of the file", f"{text.peek()!r}")


def _members(text: _Text) -> Iterator[tuple[str, Any]]:
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        if text.peek() != '"':
            text.take('"')
        key = text.value()
        text.take(":")
        if text.peek() == "[":
            yield from _items(text, key)
        else:
            yield key, text.value()
        if text.take(",}") == "}":
            return


def _items(text: _Text, key: str) -> Iterator[tuple[str, Any]]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield key, text.value()
        if text.take(",]") == "]":
            return


def _error(path: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where="JSON", expected=expected, found=found[:200], fix="Fetch the file again.")
