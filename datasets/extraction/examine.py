"""Read, check and resample one recording, a sequence at a time, and say of each why it cannot be used."""

from collections.abc import Iterator

import numpy as np

from datasets.extraction.quarantine import Lost, lost
from datasets.extraction.reading import DEFAULT_LIMITS, read_sequences
from datasets.quality.checks import check
from datasets.quality.resampling import resample
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Reader, Recording, RecordingError


def extract_recording(
    recording: Recording, reader: Reader, *, fps: float, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[MotionSequence | Lost]:
    """Read, check and resample one recording, a sequence at a time; at least one result.

    Checked again after resampling, since a short one may have no two frames left.
    """
    results = 0
    for sequence in read_sequences(recording, reader, limits=limits):
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
