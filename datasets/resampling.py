"""Any frame rate to any other, exact in time.

Frame k of the result stands at k / rate seconds, whatever the two rates are: 100 to 30 Hz takes positions 0, 3 1/3,
6 2/3, 10 of the source, never a rounded stride. Between two frames the motion is a straight line. Going down, nothing
is smoothed: motion capture carries next to no energy above 15 Hz.

Shapes: T frames of the source, U frames of the result, J joints, C channels.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from datasets.sequences import MotionSequence
from motion_encoder.shapes import Float, Int


def resample(sequence: MotionSequence, fps: float) -> MotionSequence:
    """Return the sequence at ``fps`` frames a second, over the same time; itself when the rates agree.

    A joint is observed at a new time if it is on both sides of it, or at the very frame that it falls on.

    Raises:
        ValueError: One of the two rates is outside 0.01 to 100,000 Hz.
    """
    if sequence.fps == fps:
        return sequence
    left_U, part_U = _source_positions(sequence.num_frames, _rate(sequence.fps) / _rate(fps))
    right_U = np.where(part_U > 0, left_U + 1, left_U)
    confidence_UJ = _between(sequence.confidence_TJ, left_U, right_U, part_U)
    seen_TJ = sequence.confidence_TJ > 0
    confidence_UJ = confidence_UJ * (seen_TJ[left_U] & seen_TJ[right_U])

    def moved(points_TJC: Float[np.ndarray, "T J C"] | None) -> Float[np.ndarray, "U J C"] | None:
        if points_TJC is None:
            return None
        return _between(points_TJC, left_U, right_U, part_U) * (confidence_UJ > 0)[..., None]

    return replace(
        sequence,
        fps=fps,
        keypoints_3d_TJC=moved(sequence.keypoints_3d_TJC),
        keypoints_2d_TJC=moved(sequence.keypoints_2d_TJC),
        confidence_TJ=confidence_UJ,
    )


def _rate(fps: float) -> Fraction:
    """The rate as a ratio of small whole numbers: 30000/1001 comes as 29.97002997..."""
    if not 0.01 <= fps <= 100_000:
        raise ValueError(f"fps: expected 0.01 to 100,000 frames a second, found {fps}")
    return Fraction(fps).limit_denominator(1001)


def _source_positions(num_frames: int, ratio: Fraction) -> tuple[Int[np.ndarray, "U"], Float[np.ndarray, "U"]]:
    """Where each new frame lies between the old ones, in whole-number arithmetic: left neighbour and rest."""
    count = int((num_frames - 1) / ratio) + 1
    numerator_U = np.arange(count, dtype=np.int64) * ratio.numerator
    left_U, rest_U = np.divmod(numerator_U, ratio.denominator)
    return left_U, rest_U / ratio.denominator


def _between(
    values: np.ndarray, left_U: Int[np.ndarray, "U"], right_U: Int[np.ndarray, "U"], part_U: Float[np.ndarray, "U"]
) -> np.ndarray:
    part = part_U.reshape(-1, *([1] * (values.ndim - 1))).astype(values.dtype)
    return values[left_U] * (1 - part) + values[right_U] * part
