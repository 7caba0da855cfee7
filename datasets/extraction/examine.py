"""Read, check and resample one recording, one sequence at a time, and report which sequences cannot be used.

Extraction stores the sequences that pass; ``--lint`` only reports the results.
"""

from collections.abc import Iterator

import numpy as np

from datasets.extraction.quarantine import Quarantined, quarantine
from datasets.extraction.reading import DEFAULT_LIMITS, read_sequences
from datasets.quality.checks import judge
from datasets.quality.resampling import resample
from datasets.sandbox.limits import ReadLimits
from datasets.sequences import MotionSequence, Reader, Recording


def examine_recording(
    recording: Recording, reader: Reader, *, fps: float, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[MotionSequence | Quarantined]:
    """Yield each sequence of a recording, repaired and at ``fps``, or why it cannot be used; at least one result.

    A sequence whose ``repairs`` are empty passed as it was.

    Raises:
        ConnectionError, TimeoutError: The input could not be reached; a retry may help.
    """
    empty = True
    for result in read_sequences(recording, reader, limits=limits):
        empty = False
        yield result if isinstance(result, Quarantined) else _examined(recording, result, fps)
    if empty:
        yield quarantine(recording, f"{recording.path}: no sequence in it")


def _examined(recording: Recording, sequence: MotionSequence, fps: float) -> MotionSequence | Quarantined:
    """The sequence is checked again after resampling, since a short one may have fewer than two frames left."""
    with np.errstate(all="ignore"):
        verdict = judge(sequence)
        if not verdict.problems:
            resampled = resample(verdict.sequence, fps)
            verdict = verdict if resampled is verdict.sequence else judge(resampled)
    if not verdict.problems:
        return verdict.sequence
    problems = tuple(str(problem) for problem in verdict.problems)
    return quarantine(recording, str(verdict.error()), sequence.sequence_id, problems)
