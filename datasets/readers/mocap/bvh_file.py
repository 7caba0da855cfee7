"""Parses BVH files: the tree of joints and the values of its channels, in the file's own units and axes.

A BVH file is a HIERARCHY block of nested joints, each with an offset from its parent and the channels that move it, and
a MOTION block with the number of frames, the frame time, and one line of channel values per frame. Line breaks have no
meaning. Nearly all of the bytes are the channel values, which ``number_text.py`` parses.

Spellings that other readers accept are accepted here: keywords in any case, braces without white space around them,
comment lines (``#``, ``//``, ``;``) and anything before HIERARCHY, UTF-16 and byte order marks, decimal commas
(recognised by the frame time), commas between numbers, a DOS end-of-file mark (0x1A) or NUL bytes after the last
number.

Shapes: T frames, N nodes (joints and end sites), K channels.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets.containers.number_text import parse_numbers
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

FAR = 1e6
"""Largest plausible angle in degrees, or position in any unit."""
MOST_NODES = 2000
"""Most joints and end sites of a file; rigs with a face and hands have up to 400."""
MOST_NODES_PER_CHANNEL = 4
"""Most joints per channel: few joints have no channels, and without this bound a small file could need much memory."""
_MOTION = re.compile(rb"\bMOTION\s+Frames\s*:\s*(\d+)\s*Frame\s+Time\s*:\s*(\S+)", re.IGNORECASE)
_HIERARCHY = re.compile(rb"\bHIERARCHY\b", re.IGNORECASE)
_COMMENT = re.compile(rb"^[ \t]*(?:#|//|;).*$", re.MULTILINE)
_SHOWN = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """The HIERARCHY block. Parents come before their children; end sites are called ``PARENT/end``."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_N3: Float[np.ndarray, "N 3"]
    channels: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bvh:
    """A parsed file: the hierarchy, the frame time in seconds and the channel values as written."""

    hierarchy: Hierarchy
    frame_time_s: float
    motion_TK: Float[np.ndarray, "T K"]


def parse_bvh(content: bytes, path: str) -> Bvh:
    """Parse a file's content; ``path`` is for messages.

    Raises:
        RecordingError: The file is not BVH, or it is truncated.
    """
    text = _plain_text(content, path)
    counts = _MOTION.search(text)
    if not counts:
        found = f"a file without them that begins with {text[:_SHOWN].decode('latin-1')!r}"
        raise damaged(path, "header", "HIERARCHY, MOTION, 'Frames:' and 'Frame Time:'", found)
    hierarchy = _parse_hierarchy(_words(text[: counts.start()]), path)
    num_frames, num_channels = int(counts[1]), sum(map(len, hierarchy.channels))
    try:
        frame_time_s = float(counts[2])
        values = _parse_values(text[counts.end() :])
    except ValueError as error:
        raise damaged(path, "MOTION", "numbers", str(error)) from error
    if values.size != num_frames * num_channels or num_frames == 0:
        raise _wrong_count(path, num_frames, num_channels, values.size)
    if not (np.abs(values) < FAR).all():
        raise damaged(path, "MOTION", f"numbers within {FAR:g}", "others, or nan")
    if not 0 < frame_time_s < 1:
        raise damaged(path, "Frame Time", "seconds between 0 and 1", f"{frame_time_s}")
    return Bvh(hierarchy=hierarchy, frame_time_s=frame_time_s, motion_TK=values.reshape(num_frames, num_channels))


def _plain_text(content: bytes, path: str) -> bytes:
    """Return the text as single bytes, with decimal points for decimal commas and without padding after its end."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise damaged(path, "text", "UTF-16, as its byte order mark says", str(error)) from error
    text = content.removeprefix(codecs.BOM_UTF8).partition(b"\x1a")[0].rstrip(b"\0 \t\r\n")
    counts = _MOTION.search(text)
    return text.replace(b",", b".") if counts and b"," in counts[2] else text


def _words(header: bytes) -> list[str]:
    """Split the HIERARCHY block into words and braces, starting after its keyword if there is one."""
    plain = _COMMENT.sub(b"", header)
    start = _HIERARCHY.search(plain)
    plain = plain[start.end() :] if start else plain
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        text = plain.decode("latin-1")
    return re.sub(r"[{}]", r" \g<0> ", text).split()


def _parse_values(text: bytes) -> Float[np.ndarray, "N"]:
    """Parse the numbers; comment lines and commas between numbers are rare, so they are removed after a failure."""
    try:
        return parse_numbers(text)
    except ValueError:
        plain = _COMMENT.sub(b"", text).replace(b",", b" ")
        if plain == text:
            raise
        return parse_numbers(plain)


def _wrong_count(path: str, num_frames: int, num_channels: int, found: int) -> RecordingError:
    frames, rest = divmod(found, max(num_channels, 1))
    return RecordingError(
        path,
        where="MOTION",
        expected=f"{num_frames} frames of {num_channels} channels = {num_frames * num_channels} numbers",
        found=f"{found}, which are {frames} frames" + (f" and {rest} numbers more" if rest else ""),
        fix="Fetch the file again, or export it again; correct its 'Frames:' if only that is wrong.",
    )


def _parse_hierarchy(words: list[str], path: str) -> Hierarchy:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_nodes: list[int] = []
    stream = iter(words)
    try:
        for word in stream:
            keyword = word.upper()
            if keyword in ("ROOT", "JOINT", "END"):
                parents.append(open_nodes[-1] if open_nodes else -1)
                name = _name(stream)
                names.append(f"{names[parents[-1]]}/end" if keyword == "END" else name)
                channels.append(())
                offsets.append([0.0, 0.0, 0.0])
                open_nodes.append(len(names) - 1)
            elif keyword == "}":
                open_nodes.pop()
            elif keyword == "OFFSET":
                offsets[-1] = [_length(next(stream)) for _ in range(3)]
            elif keyword == "CHANNELS":
                channels[-1] = tuple(_channel(next(stream)) for _ in range(int(next(stream))))
            else:
                raise ValueError(f"the word {word!r}")
    except (ValueError, IndexError, StopIteration) as error:
        where = f"HIERARCHY, at {names[-1] if names else 'its start'}"
        raise damaged(path, where, "ROOT, JOINT, End Site, OFFSET and CHANNELS", str(error) or "its end") from error
    if open_nodes or not names:
        raise damaged(path, "HIERARCHY", "a tree of joints in matching braces", f"{len(open_nodes)} left open")
    num_channels = sum(map(len, channels))
    if len(names) > MOST_NODES_PER_CHANNEL * num_channels:
        raise damaged(
            path, "HIERARCHY", "channels that move the joints", f"{len(names)} joints for {num_channels} channels"
        )
    if len(names) > MOST_NODES:
        raise damaged(path, "HIERARCHY", f"at most {MOST_NODES} joints and end sites", f"{len(names)}")
    return Hierarchy(names=tuple(names), parents=tuple(parents), offsets_N3=np.array(offsets), channels=tuple(channels))


def _name(stream: Iterator[str]) -> str:
    """Return the words up to the opening brace, without a prefix such as ``mixamorig:``."""
    return " ".join(iter(lambda: next(stream), "{")).rpartition(":")[2]


def _length(word: str) -> float:
    if not abs(float(word)) < FAR:
        raise ValueError(f"the offset {word!r}")
    return float(word)


def _channel(word: str) -> str:
    channel = word[:1].upper() + word[1:].lower()
    if channel not in {axis + what for axis in "XYZ" for what in ("position", "rotation")}:
        raise ValueError(f"the channel {word!r}")
    return channel


def damaged(path: str, where: str, expected: str, found: str) -> RecordingError:
    """Return the error for a file that cannot be used."""
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, or export it again as BVH."
    )
