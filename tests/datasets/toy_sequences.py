"""Sequences that no file is needed for."""

from pathlib import Path

import numpy as np

from datasets.assembly.path_rules import CMU
from datasets.sequences import MotionSequence

FRAMES = 61


def flat_walk(path: str, frames: int = FRAMES, fps: float = 60.0) -> MotionSequence:
    """2D joints on a line that move one pixel a frame: after halving the rate, two.

    Paths of the same letters in another order give the same motion.
    """
    x_TJ = np.arange(frames)[:, None] + np.zeros((1, 17))
    y_TJ = sum(path.encode()) % 1000 * np.arange(17) + np.zeros((frames, 1))
    return MotionSequence(
        source=CMU,
        sequence_id=Path(path).name,
        subject="cmu/08" if "test" in path else "cmu/01",
        fps=fps,
        keypoints_2d_TJC=np.stack([x_TJ, y_TJ], axis=-1),
        confidence_TJ=np.ones((frames, 17)),
    )
