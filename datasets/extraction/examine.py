"""Read, check and resample one recording, a sequence at a time, and say of each why it cannot be used."""

import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from datasets.extraction.quarantine import Lost, lost, plain
from datasets.files import is_transient
from datasets.quality.checks import check
from datasets.quality.resampling import resample
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError

log = logging.getLogger(__name__)

# What parsers raise on rubbish bytes.
_RUBBISH = (
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


def extract_recording(recording: Recording, reader: Reader, *, fps: float) -> Iterator[MotionSequence | Lost]:
    """Read, check and resample one recording, a sequence at a time; at least one result.

    Checked again after resampling, since a short one may have no two frames left.
    """
    results = 0
    for sequence in read_sequences(recording, reader):
        results += 1
        if isinstance(sequence, Lost):
            yield sequence
            continue
        try:
            with np.errstate(all="ignore"):
                checked = check(sequence)
                resampled = resample(checked, fps)
                if resampled is not checked:
                    resampled = check(resampled)
        except RecordingError as error:
            yield lost(recording, str(error), sequence.sequence_id)
        else:
            yield resampled
    if not results:
        yield lost(recording, f"{recording.path}: no sequence in it")


def read_sequences(recording: Recording, reader: Reader) -> Iterator[MotionSequence | Lost]:
    """Yield what the reader yields; where it gives up, the reason.

    Raises:
        ConnectionError, TimeoutError: the network's fault, not the recording's.
    """
    try:
        for sequence in _quietly(reader.read(recording)):
            yield _with_plain_names(sequence)
    except (ConnectionError, TimeoutError):
        raise
    except RecordingError as error:
        yield lost(recording, str(error))
    except MemoryError as error:
        yield lost(recording, f"{recording.path}: needs more memory than this machine has: {error}")
    except _RUBBISH as error:
        if is_transient(error):
            raise ConnectionError(f"{recording.path}: {error}") from error
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
