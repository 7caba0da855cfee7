"""A reader that generates sequences. Its module has few imports, because the sandbox imports it at every start."""

from collections.abc import Iterable, Iterator

import numpy as np

from datasets.assembly.path_rules import CMU
from datasets.sequences import File, MotionSequence, Recording

_BYTES_PER_FRAME = 17 * (3 + 1) * 4


class MakingReader:
    """Generates a sequence of a given size, or ends its process, to measure only the cost of the sandbox."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Find nothing."""
        return []

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence whose size in bytes is the path of the recording."""
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
