"""A reader that makes sequences, in a module that imports little: the sandbox imports it whenever it starts."""

from collections.abc import Iterable, Iterator

import numpy as np

from datasets.assembly.path_rules import CMU
from datasets.sequences import File, MotionSequence, Recording

_BYTES_PER_FRAME = 17 * (3 + 1) * 4


class MakingReader:
    """Makes a sequence of so many bytes, or ends its process: the cost is that of the way back alone."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Find nothing."""
        return []

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence."""
        if recording.path == "crash":
            raise SystemExit
        frames = int(recording.path) // _BYTES_PER_FRAME + 2
        yield MotionSequence(
            source=CMU,
            sequence_id="made",
            subject="made",
            fps=30.0,
            keypoints_3d_TJC=np.zeros((frames, 17, 3), np.float32),
            confidence_TJ=np.zeros((frames, 17), np.float32),
        )
