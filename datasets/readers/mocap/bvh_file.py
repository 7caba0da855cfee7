"""BVH files as they are: the tree of joints, and the values of its channels, in the file's own units and axes.

A BVH file is a HIERARCHY block of nested joints, each with an offset from its parent and the channels that move it, and
a MOTION block with the number of frames, the frame time, and one line of channel values a frame. Line breaks are
ignored: words count. Nearly all of the bytes are the channel values, which ``number_text.py`` parses.

Shapes: T frames, N nodes (joints and end sites), K channels.
"""

import codecs
import re
from dataclasses import dataclass

import numpy as np

from datasets.containers.number_text import parse_numbers
from datasets.sequences import RecordingError
from motion_encoder.shapes import Float

FAR = 1e6
"""No angle, and no position in any unit, is beyond."""
MOST_NODES_PER_CHANNEL = 4
"""Joints without a channel of their own are few; else a small file could ask for any amount of memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """The HIERARCHY block. Parents stand before their children; end sites are called ``PARENT/end``."""

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
        RecordingError: It is not BVH, or it is cut off.
    """
    header, keyword, motion = content.removeprefix(codecs.BOM_UTF8).partition(b"MOTION")
    counts = re.match(rb"\s*Frames:\s*(\d+)\s*Frame\s+Time:\s*(\S+)", motion)
    if not keyword or not counts:
        raise damaged(path, "header", "HIERARCHY, MOTION, 'Frames:' and 'Frame Time:'", "a file without them")
    hierarchy = _parse_hierarchy(header.decode("latin-1").split(), path)
    num_frames, num_channels = int(counts[1]), sum(map(len, hierarchy.channels))
    try:
        frame_time_s = float(counts[2])
        values = parse_numbers(motion[counts.end() :])
    except ValueError as error:
        raise damaged(path, "MOTION", "numbers", str(error)) from error
    if values.size != num_frames * num_channels or num_frames == 0:
        expected = f"{num_frames} frames of {num_channels} channels = {num_frames * num_channels} numbers"
        raise damaged(path, "MOTION", expected, f"{values.size}")
    if not (np.abs(values) < FAR).all():
        raise damaged(path, "MOTION", f"numbers within {FAR:g}", "others, or nan")
    if not 0 < frame_time_s < 1:
        raise damaged(path, "Frame Time", "seconds between 0 and 1", f"{frame_time_s}")
    return Bvh(hierarchy=hierarchy, frame_time_s=frame_time_s, motion_TK=values.reshape(num_frames, num_channels))


def _parse_hierarchy(tokens: list[str], path: str) -> Hierarchy:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_nodes: list[int] = []
    stream = iter(tokens)
    try:
        for token in stream:
            if token in ("ROOT", "JOINT", "End"):
                parents.append(open_nodes[-1] if open_nodes else -1)
                name = " ".join(iter(lambda: next(stream), "{"))
                names.append(f"{names[parents[-1]]}/end" if token == "End" else name.rpartition(":")[2])
                channels.append(())
                offsets.append([0.0, 0.0, 0.0])
                open_nodes.append(len(names) - 1)
            elif token == "}":
                open_nodes.pop()
            elif token == "OFFSET":
                offsets[-1] = [_length(next(stream)) for _ in range(3)]
            elif token == "CHANNELS":
                channels[-1] = tuple(_channel(next(stream)) for _ in range(int(next(stream))))
            elif token != "HIERARCHY":
                raise ValueError(f"the word {token!r}")
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
    return Hierarchy(names=tuple(names), parents=tuple(parents), offsets_N3=np.array(offsets), channels=tuple(channels))


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
    """Return what a file gets that cannot be used."""
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, or export it anew as BVH."
    )
