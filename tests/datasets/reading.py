"""What tests of readers share: write a file and read it, the way in which extraction finds and reads it."""

from pathlib import Path

import numpy as np

from datasets.extraction.quarantine import Quarantined
from datasets.extraction.reading import read_sequences
from datasets.sequences import File, MotionSequence, Reader, Recording


def read_one(reader: Reader, path: Path, content: bytes | str) -> list[MotionSequence]:
    """Write a file that must be claimed as one recording, and return its sequences."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    [recording] = reader.find([File(str(path), path.stat().st_size)])
    return list(reader.read(recording))


def read_damaged(reader: Reader, recording: Recording) -> list[MotionSequence]:
    """The sequences of a recording that may do anything to the process that reads it; the rest must have a reason."""
    results = list(read_sequences(recording, reader))
    assert not [each.reason for each in results if isinstance(each, Quarantined) and "please report: " in each.reason]
    return [each for each in results if isinstance(each, MotionSequence)]


def metres(sequence: MotionSequence) -> np.ndarray:
    """The 3D positions of a sequence that has some."""
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


def pixels(sequence: MotionSequence) -> np.ndarray:
    """The image positions of a sequence that has some."""
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC
