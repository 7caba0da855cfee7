"""Read one recording: the sequences that its reader yields, and the reason where the reader gives up."""

import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from datasets.extraction.quarantine import Quarantined, escape_controls, quarantine
from datasets.files import is_transient
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError

log = logging.getLogger(__name__)

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


def read_sequences(recording: Recording, reader: Reader) -> Iterator[MotionSequence | Quarantined]:
    """Yield what the reader yields; where it gives up, the reason.

    Raises:
        ConnectionError, TimeoutError: the network's fault, not the recording's.
    """
    try:
        for sequence in _without_warnings(reader.read(recording)):
            yield _with_escaped_names(sequence)
    except (ConnectionError, TimeoutError):
        raise
    except RecordingError as error:
        yield quarantine(recording, str(error))
    except MemoryError as error:
        yield quarantine(recording, f"{recording.path}: needs more memory than this machine has: {error}")
    except _DAMAGE as error:
        if is_transient(error):
            raise ConnectionError(f"{recording.path}: {error}") from error
        yield quarantine(recording, f"{recording.path}: {type(error).__name__}: {error}")
    except _BUGS as error:
        log.exception("%s: the reader %s has a bug", recording.path, recording.reader)
        bug = f"a bug in the reader {recording.reader}, please report: {type(error).__name__}: {error}"
        yield quarantine(recording, f"{recording.path}: {bug}")


def _without_warnings(sequences: Iterator[MotionSequence]) -> Iterator[MotionSequence]:
    """Damaged numbers overflow, and numpy would warn; the checks find what is infinite or not a number then."""
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
