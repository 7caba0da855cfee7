"""Resample sequences from any frame rate to any other, exactly in time.

Frame k of the result is at k / rate seconds for any two rates: 100 to 30 Hz takes positions 0, 3 1/3, 6 2/3, 10 of the
source, never a rounded stride. Between two frames the root and all 2D points are interpolated linearly; 3D bones are
interpolated spherically, so that they keep their length: halfway through a turn by 20 degrees, linear interpolation
would shorten an arm by 1.5 %. Downsampling does not smooth: motion capture has almost no energy above 15 Hz.

If the source has rotations, interpolating the bones is as good as interpolating the rotations: 16 CMU recordings
resampled from 120 to 30 Hz and back have a mean error of 0.98 mm, compared with 0.99 mm for the files' own rotations
interpolated spherically and 0.99 mm for linear interpolation; from 15 Hz it is 2.20, 2.27 and 2.25 mm.

Shapes: T frames of the source, U frames of the result, J = 17 joints, C channels.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from datasets.sequences import MotionSequence
from motion_encoder.shapes import Bool, Float, Int
from motion_encoder.skeletons import H36M17

_HALF_TURN = np.pi - 1e-3
"""Largest angle of spherical interpolation between two frames; larger turns are interpolated linearly."""


def resample(sequence: MotionSequence, fps: float) -> MotionSequence:
    """Return the sequence at ``fps`` frames a second, over the same time; the same sequence if the rates agree.

    A joint is observed at a new time if it is observed in both neighbouring frames, or in the frame exactly at this
    time.

    Raises:
        ValueError: One of the two rates is outside 0.01 to 100,000 Hz.
    """
    if sequence.fps == fps:
        return sequence
    times = _new_times(sequence.num_frames, _rate(sequence.fps) / _rate(fps))
    seen_TJ = sequence.confidence_TJ > 0
    seen_UJ = seen_TJ[times.left_U] & seen_TJ[times.right_U]
    points_3d_TJC, points_2d_TJC = sequence.keypoints_3d_TJC, sequence.keypoints_2d_TJC
    return replace(
        sequence,
        fps=fps,
        keypoints_3d_TJC=None if points_3d_TJC is None else _turned(points_3d_TJC, times, seen_UJ),
        keypoints_2d_TJC=None if points_2d_TJC is None else _between(points_2d_TJC, times) * seen_UJ[..., None],
        confidence_TJ=_between(sequence.confidence_TJ, times) * seen_UJ,
    )


def _rate(fps: float) -> Fraction:
    """The rate as a ratio of small integers: 29.97002997... becomes 30000/1001."""
    if not 0.01 <= fps <= 100_000:
        raise ValueError(f"fps: expected 0.01 to 100,000 frames a second, found {fps}")
    return Fraction(fps).limit_denominator(1001)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Times:
    """The position of each new frame between the old ones."""

    left_U: Int[np.ndarray, "U"]
    right_U: Int[np.ndarray, "U"]
    """Right neighbour; the same as ``left_U`` if the new frame is exactly at an old one."""
    part_U: Float[np.ndarray, "U"]
    """Position from left to right, from 0 to 1."""


def _new_times(num_frames: int, ratio: Fraction) -> _Times:
    """Integer arithmetic, so that there is no drift."""
    count = int((num_frames - 1) / ratio) + 1
    numerator_U = np.arange(count, dtype=np.int64) * ratio.numerator
    left_U, rest_U = np.divmod(numerator_U, ratio.denominator)
    return _Times(left_U=left_U, right_U=left_U + (rest_U > 0), part_U=rest_U / ratio.denominator)


def _between(values: np.ndarray, times: _Times) -> np.ndarray:
    part = times.part_U.reshape(-1, *([1] * (values.ndim - 1))).astype(values.dtype)
    return values[times.left_U] * (1 - part) + values[times.right_U] * part


def _turned(
    points_TJ3: Float[np.ndarray, "T 17 3"], times: _Times, seen_UJ: Bool[np.ndarray, "U 17"]
) -> Float[np.ndarray, "U 17 3"]:
    """Build each frame from the root outwards; a joint without an observed parent is interpolated linearly."""
    result_UJ3 = _between(points_TJ3, times)
    left_UJ3, right_UJ3 = points_TJ3[times.left_U], points_TJ3[times.right_U]
    for parent, child in H36M17.bones:
        bone_U3 = _turned_bone(
            left_UJ3[:, child] - left_UJ3[:, parent], right_UJ3[:, child] - right_UJ3[:, parent], times.part_U
        )
        turns_U = seen_UJ[:, parent] & seen_UJ[:, child] & (times.part_U > 0)
        result_UJ3[turns_U, child] = (result_UJ3[:, parent] + bone_U3)[turns_U]
    return result_UJ3 * seen_UJ[..., None]


def _turned_bone(
    left_U3: Float[np.ndarray, "U 3"], right_U3: Float[np.ndarray, "U 3"], part_U: Float[np.ndarray, "U"]
) -> Float[np.ndarray, "U 3"]:
    """Spherical interpolation of the direction, linear interpolation of the length."""
    left_length_U = np.linalg.norm(left_U3, axis=-1)
    right_length_U = np.linalg.norm(right_U3, axis=-1)
    angle_U = np.arctan2(np.linalg.norm(np.cross(left_U3, right_U3), axis=-1), (left_U3 * right_U3).sum(axis=-1))
    turns_U = (angle_U > 1e-6) & (angle_U < _HALF_TURN) & (left_length_U > 0) & (right_length_U > 0)
    sine_U = np.sin(np.where(turns_U, angle_U, 1.0))
    length_U = left_length_U * (1 - part_U) + right_length_U * part_U
    left_share_U = np.sin((1 - part_U) * angle_U) / sine_U * length_U / np.maximum(left_length_U, 1e-12)
    right_share_U = np.sin(part_U * angle_U) / sine_U * length_U / np.maximum(right_length_U, 1e-12)
    left_share_U = np.where(turns_U, left_share_U, 1 - part_U)
    right_share_U = np.where(turns_U, right_share_U, part_U)
    return (left_share_U[:, None] * left_U3 + right_share_U[:, None] * right_U3).astype(left_U3.dtype)
