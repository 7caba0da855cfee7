"""Read one recording in the sandbox: whatever its file does, the worker that asks goes on.

A file that hangs, crashes or fills the memory of the process that parses it is quarantined with that reason; sequences
that came before count. The process is shared by all recordings of a worker and replaced when it dies. Per small file it
costs 0.3 ms, per 100 MB of arrays that come back 0.06 s, to start 0.2 s once, to replace 6 ms (2 CPUs of an AMD EPYC).

Errors of the network are told apart in the child, where they happen, and raised here: they are no fault of the file.

Shapes: T frames, J = 17 joints, C channels.
"""

import errno
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.extraction.quarantine import Lost, lost, plain
from datasets.files import is_transient
from datasets.sandbox.calls import run
from datasets.sandbox.limits import CrashError, ReadLimits, SandboxError
from datasets.sandbox.messages import Message
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError

log = logging.getLogger(__name__)

DEFAULT_LIMITS = ReadLimits()
# What parsers raise on damaged bytes.
_DAMAGE = (
    RecordingError,
    ValueError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    OSError,
)
# What a reader with a bug raises. It costs the recording, not the hours of work on all others.
_BUGS = (LookupError, TypeError, AttributeError, AssertionError, RuntimeError, SystemError, BufferError)
_SHAPES = {"keypoints_3d_TJC": (17, 3), "keypoints_2d_TJC": (17, 2), "confidence_TJ": (17,)}
"""Of a sequence's arrays, after the frames."""
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("source", "sequence_id", "subject"), str),
    **dict.fromkeys(("action", "view"), str | None),
    "label": int | None,
    "fps": float | int,
    "image_size": list | None,
    "repairs": list,
}
"""Of a sequence's other fields, as JSON has them."""


def read_sequences(
    recording: Recording, reader: Reader, *, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[MotionSequence | Lost]:
    """Yield what the reader yields; where it gives up or breaks a limit, the reason.

    Raises:
        ConnectionError, TimeoutError: the network's fault, not the recording's.
    """
    parses_files = getattr(reader, "parses_files", True)
    try:
        yield from _sandboxed(recording, reader, limits) if parses_files else _read(recording, reader)
    except SandboxError as error:
        yield lost(recording, f"{recording.path}: {error}")
    except MemoryError as error:
        yield lost(recording, f"{recording.path}: needs more memory than this machine has: {error}")


def _sandboxed(recording: Recording, reader: Reader, limits: ReadLimits) -> Iterator[MotionSequence | Lost]:
    for message in run(_read_in_sandbox, recording, reader, budget=limits.of(recording.size)):
        if isinstance(message.value, str):
            yield lost(recording, message.value)
        else:
            yield _sequence_of(message)


def _read_in_sandbox(recording: Recording, reader: Reader) -> Iterator[Message]:
    for result in _read(recording, reader):
        yield Message(value=result.reason) if isinstance(result, Lost) else _message_of(result)


def _read(recording: Recording, reader: Reader) -> Iterator[MotionSequence | Lost]:
    try:
        for sequence in _quietly(reader.read(recording)):
            yield _with_plain_names(sequence)
    except (ConnectionError, TimeoutError, MemoryError):
        raise
    except RecordingError as error:
        yield lost(recording, str(error))
    except _DAMAGE as error:
        if is_transient(error):
            raise ConnectionError(f"{recording.path}: {error}") from error
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        yield lost(recording, f"{recording.path}: {type(error).__name__}: {error}")
    except _BUGS as error:
        log.exception("%s: the reader %s has a bug", recording.path, recording.reader)
        bug = f"a bug in the reader {recording.reader}, please report: {type(error).__name__}: {error}"
        yield lost(recording, f"{recording.path}: {bug}")


def _quietly(sequences: Iterator[MotionSequence]) -> Iterator[MotionSequence]:
    """Damaged numbers overflow, and numpy need not warn: the checks find what is infinite or no number then."""
    while True:
        with np.errstate(all="ignore"):
            sequence = next(sequences, None)
        if sequence is None:
            return
        yield sequence


def _with_plain_names(sequence: MotionSequence) -> MotionSequence:
    return replace(
        sequence,
        sequence_id=plain(sequence.sequence_id),
        subject=plain(sequence.subject),
        action=None if sequence.action is None else plain(sequence.action),
        view=None if sequence.view is None else plain(sequence.view),
        repairs=tuple(plain(each) for each in sequence.repairs),
    )


def _message_of(sequence: MotionSequence) -> Message:
    values = vars(sequence)
    return Message(
        value={name: value for name, value in values.items() if name not in _SHAPES},
        arrays={name: values[name] for name in _SHAPES if values[name] is not None},
    )


def _sequence_of(message: Message) -> MotionSequence:
    """Return the sequence that a message holds, if it holds one: the child handles hostile files."""
    values, arrays = message.value, message.arrays
    frames = len(arrays.get("confidence_TJ", ()))
    if any(array.shape != (frames, *_SHAPES.get(name, ())) for name, array in arrays.items()):
        raise CrashError(f"arrays of shapes {[array.shape for array in arrays.values()]}")
    if not isinstance(values, dict) or values.keys() != _TYPES.keys():
        raise CrashError("something else than a sequence")
    if wrong := [name for name, kind in _TYPES.items() if not isinstance(values[name], kind)]:
        raise CrashError(f"a sequence whose {wrong[0]} is of another type")
    size = values["image_size"]
    as_tuples = {"repairs": tuple(values["repairs"]), "image_size": None if size is None else tuple(size)}
    whole: Any = values | as_tuples | {name: arrays.get(name) for name in _SHAPES}
    return MotionSequence(**whole)
