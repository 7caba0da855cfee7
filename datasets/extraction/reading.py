"""Read one recording: yield its sequences, and the reason if the reader fails.

Readers parse foreign files, so they run in the sandbox (``datasets.sandbox``), a child process with limits on time and
memory. A file that makes that process hang, crash or run out of memory is quarantined with that reason; the sequences
read before are kept, and extraction continues with the next recording.

One child process reads all recordings of a worker; when it dies, another one replaces it. Measured on 2 CPUs of an AMD
EPYC (``benchmarks/extract_sandbox.py``), the sandbox costs 0.2 s to start once per worker, 0.3 ms per recording, 0.06 s
per 100 MB of returned arrays, and 6 ms to replace a process.
"""

import errno
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from datasets.extraction.quarantine import Quarantined, escape_controls, quarantine
from datasets.extraction.sequence_messages import sequence_from, to_message
from datasets.files import is_transient
from datasets.sandbox.calls import run
from datasets.sandbox.limits import ReadLimits, SandboxError
from datasets.sandbox.messages import Message
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError

log = logging.getLogger(__name__)

DEFAULT_LIMITS = ReadLimits()
# Errors that parsers raise on damaged bytes.
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
# Errors of a reader with a bug. Only the recording is lost, not the hours of work on all others.
_BUGS = (LookupError, TypeError, AttributeError, AssertionError, RuntimeError, SystemError, BufferError)


def read_sequences(
    recording: Recording, reader: Reader, *, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[MotionSequence | Quarantined]:
    """Yield the reader's sequences, and the reason if it fails or exceeds a limit.

    Raises:
        ConnectionError, TimeoutError: The network failed; a retry may help.
    """
    parses_files = getattr(reader, "parses_files", True)
    try:
        yield from _read_in_sandbox(recording, reader, limits) if parses_files else _read(recording, reader)
    except SandboxError as error:
        yield quarantine(recording, f"{recording.path}: {error}")
    except MemoryError as error:
        yield quarantine(recording, f"{recording.path}: needs more memory than this machine has: {error}")


def _read_in_sandbox(
    recording: Recording, reader: Reader, limits: ReadLimits
) -> Iterator[MotionSequence | Quarantined]:
    for message in run(_messages, recording, reader, budget=limits.of(recording.size)):
        if isinstance(message.value, str):
            yield quarantine(recording, message.value)
        else:
            yield sequence_from(message, recording.source)


def _messages(recording: Recording, reader: Reader) -> Iterator[Message]:
    """Yield each sequence, or the reason why there is none, as a message. Runs in the sandbox."""
    for result in _read(recording, reader):
        if isinstance(result, Quarantined):
            yield Message(value=result.reason)
        else:
            yield to_message(result, recording.source)


def _read(recording: Recording, reader: Reader) -> Iterator[MotionSequence | Quarantined]:
    try:
        for sequence in _without_warnings(reader.read(recording)):
            yield _with_escaped_names(sequence)
    except (ConnectionError, TimeoutError, MemoryError):
        raise
    except RecordingError as error:
        yield quarantine(recording, str(error))
    except _DAMAGE as error:
        if is_transient(error):
            raise ConnectionError(f"{recording.path}: {error}") from error
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        yield quarantine(recording, f"{recording.path}: {type(error).__name__}: {error}")
    except _BUGS as error:
        log.exception("%s: the reader %s has a bug", recording.path, recording.reader)
        bug = f"a bug in the reader {recording.reader}, please report: {type(error).__name__}: {error}"
        yield quarantine(recording, f"{recording.path}: {bug}")


def _without_warnings(sequences: Iterator[MotionSequence]) -> Iterator[MotionSequence]:
    """Silence numpy's warnings about overflow in damaged numbers; the checks find infinite values and NaN later."""
    while True:
        with np.errstate(all="ignore"):
            sequence = next(sequences, None)
        if sequence is None:
            return
        yield sequence


def _with_escaped_names(sequence: MotionSequence) -> MotionSequence:
    return replace(
        sequence,
        sequence_id=escape_controls(sequence.sequence_id),
        subject=escape_controls(sequence.subject),
        action=None if sequence.action is None else escape_controls(sequence.action),
        view=None if sequence.view is None else escape_controls(sequence.view),
        repairs=tuple(escape_controls(each) for each in sequence.repairs),
    )
