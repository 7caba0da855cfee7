"""Parse C3D files: points with labels, in the file's own units and axes.

The format is that of "The C3D File Format User Guide" (c3d.org). The library ``c3d`` reads header and parameters of all
three processors (Intel, DEC, SGI); ``ezc3d`` is not used, since changed bytes crash or hang it and it does not support
SGI. The data section is parsed here: real or scaled integer points; analog channels are skipped. A point is not
observed if its residual is negative, a coordinate is not a number, or all three are exactly 0.

Trap: files state the number of frames in up to four places, which may disagree. TRIAL counts the frames of the trial
and not only the exported ones, the header counts from 1 (from 0 in files of OptiTrack's Motive), and header and
POINT:FRAMES have 16 bits, too few for 65,536 frames. The number that fits the data section is used.

Shapes: T frames, P points, W words of a frame.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import c3d
import numpy as np

from datasets.sequences import RecordingError
from motion_encoder.shapes import Bool, Float

PROCESSORS = (84, 85, 86)
DEC, SGI = 85, 86
BLOCK = 512
"""Bytes; sections of a file begin at multiples of it, and the data section is padded with zeros."""
MOST_STATED = 0xFFFF
"""Largest number in 16 bits: a longer recording states this, or the remainder of a division by 65,536."""
# Errors that the library raises on damaged bytes.
_RUBBISH = (AssertionError, AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError, struct.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """The content of a file: points in its own units and axes."""

    labels: tuple[str, ...]
    points_TP3: Float[np.ndarray, "T P 3"]
    seen_TP: Bool[np.ndarray, "T P"]
    rate: float
    units: str
    up: str
    """The axis that points up on the screen, such as ``+Z``; empty if not stated."""


def looks_like_c3d(first: bytes) -> bool:
    """Tell whether header and parameter section, to which the header points, begin with C3D's keys."""
    return _processor(first) in PROCESSORS and first[512 * (first[0] - 1) :][:2] in (b"\x01\x50", b"\0\0")


def parse_c3d(content: bytes, path: str) -> Trial:
    """Parse a file's content; ``path`` is for messages.

    Raises:
        RecordingError: The file is not C3D, or it is truncated.
    """
    if _processor(content) not in PROCESSORS:
        raise _error(path, "header", "the C3D key 80 and one of three processors", "others")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # the library warns about missing descriptions
            file = _Reader(io.BytesIO(content))
            labels = _labels(file)
            points_TP4 = _points(content, file, path)
            rate = float(file.point_rate)
            units, up = _text(file, "POINT:UNITS"), _text(file, "POINT:Y_SCREEN")
    except RecordingError:
        raise
    except _RUBBISH as error:
        raise _error(path, "header or parameters", "C3D", f"{type(error).__name__}: {error}") from error
    if not 0 < rate < 1e5:
        raise _error(path, "POINT:RATE", "frames a second", f"{rate:g}")
    labels = (*labels, *[""] * points_TP4.shape[1])[: points_TP4.shape[1]]
    seen_TP = np.isfinite(points_TP4).all(axis=-1) & (points_TP4[..., :3] != 0).any(axis=-1) & (points_TP4[..., 3] >= 0)
    points_TP3 = np.where(seen_TP[..., None], points_TP4[..., :3], 0.0)
    return Trial(labels=labels, points_TP3=points_TP3, seen_TP=seen_TP, rate=rate, units=units, up=up)


def _processor(content: bytes) -> int:
    """The number of the processor that wrote the file; 0 if the format's key is missing."""
    if len(content) < 512 or content[1] != 0x50 or content[0] < 2:
        return 0
    return int.from_bytes(content[512 * (content[0] - 1) + 3 :][:1])


class _Reader(c3d.Reader):
    """Accepts files whose header and parameters do not agree exactly, as is common."""

    def _check_metadata(self) -> None:
        pass


def _points(content: bytes, file: c3d.Reader, path: str) -> Float[np.ndarray, "T P 4"]:
    """Parse the data section: x, y, z in the file's unit, and the residual, negative for a point that was not found."""
    num_points = int(file.point_used)
    scale = float(file.point_scale)
    processor = _processor(content)
    word = np.dtype("f4" if scale < 0 else "i2").newbyteorder(">" if processor == SGI else "<")
    width = 4 * num_points + int(file.header.analog_count)
    start = BLOCK * (int(file.header.data_block) - 1)
    if num_points < 1 or start < BLOCK:
        raise _error(path, "header", "points, and where their data begin", f"{num_points} points at byte {start}")
    num_frames = _num_frames(file, memoryview(content)[start:], width * word.itemsize)
    needed, there = num_frames * width * word.itemsize, len(content) - start
    if num_frames < 1 or needed > there:
        expected = f"{num_frames} frames of {num_points} points = {needed} bytes"
        raise _error(path, "data section", expected, f"{max(there, 0)} bytes")
    words_TW = np.frombuffer(content, word, num_frames * width, start).reshape(num_frames, width)
    points_TP4 = words_TW[:, : 4 * num_points].reshape(num_frames, num_points, 4)
    if scale >= 0:
        return points_TP4 * np.array([scale, scale, scale, 1.0])
    if processor == DEC:  # its 16-bit words are swapped, and its exponent is greater by 2
        swapped = np.ascontiguousarray(points_TP4).view("<u2").reshape(-1, 2)[:, ::-1]
        points_TP4 = np.ascontiguousarray(swapped).view("<f4").reshape(points_TP4.shape) / 4
    return points_TP4.astype(np.float64)


def _num_frames(file: c3d.Reader, data: memoryview, frame_bytes: int) -> int:
    """Return the stated count that fits the data section, or the count of frames in it if none fits."""
    stated = [count for count in _stated_counts(file) if count > 0]
    if filling := [count for count in stated if 0 <= len(data) - count * frame_bytes < BLOCK]:
        return filling[0]
    in_data = _frames_in(data, frame_bytes)
    if not stated or (in_data > MOST_STATED and any(count in (MOST_STATED, in_data % 65536) for count in stated)):
        return in_data
    return stated[0]


def _stated_counts(file: c3d.Reader) -> list[int]:
    """All frame counts that the file states, beginning with those that can be large."""
    names = ("TRIAL:ACTUAL_START_FIELD", "TRIAL:ACTUAL_END_FIELD", "POINT:LONG_FRAMES", "POINT:FRAMES")
    start, end, long, short = (_whole_number(file, name) for name in names)
    trial = end - start + 1 if start is not None and end is not None else None
    header = int(file.header.last_frame) - int(file.header.first_frame) + 1
    return [count for count in (trial, long, short, header) if count is not None]


def _whole_number(file: c3d.Reader, name: str) -> int | None:
    """Return the integer in a parameter, which is a real number, or one or two 16-bit words, the lower one first."""
    parameter = file.get(name)
    if parameter is None:
        return None
    if parameter.bytes_per_element == 4:
        return int(parameter.float_value)
    words = parameter.uint16_array[:2] if parameter.dimensions else [parameter.uint16_value]
    return sum(int(word) << (16 * place) for place, word in enumerate(words))


def _frames_in(data: memoryview, frame_bytes: int) -> int:
    """Count the frames of a data section without the zeros that pad its last block."""
    end = bytes(data[-(BLOCK - 1) :])
    filling = len(end) - len(end.rstrip(b"\0"))
    return min(-(-(len(data) - filling) // frame_bytes), len(data) // frame_bytes)


def _labels(file: c3d.Reader) -> tuple[str, ...]:
    """The labels of all points: POINT:LABELS, and LABELS2 and so on for more than 255 points."""
    labels: list[str] = []
    for name in ("POINT:LABELS", *(f"POINT:LABELS{n}" for n in range(2, 100))):
        parameter = file.get(name)
        if parameter is None or len(parameter.dimensions) != 2:
            break
        width, count = parameter.dimensions
        labels += [parameter.bytes[n * width : (n + 1) * width].decode("latin-1").strip() for n in range(count)]
    return tuple(labels)


def _text(file: c3d.Reader, name: str) -> str:
    parameter = file.get(name)
    return "" if parameter is None else parameter.bytes.decode("latin-1").strip(" \0")


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    fix = "Fetch the file again, or export it again."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)
