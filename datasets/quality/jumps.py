"""Jumps between neighbouring frames: find the wrong frames beyond them, and remove those from a sequence.

A run is the frames between two jumps. If runs that fit together contain nearly all frames, the other frames are wrong
and can be left out. If a jump splits a sequence into two halves, either could be right.

Shapes: T frames, J = 17 joints, C = 2 or 3 channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from datasets.quality.exchanged_sides import limb_indices
from datasets.sequences import MotionSequence
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17


def find_far_moves(
    points_TJC: Float[np.ndarray, "T J C"], seen_TJ: Bool[np.ndarray, "T J"], least_move: float
) -> Bool[np.ndarray, "T J"]:
    """Tell where a joint moved farther than ``least_move`` since the frame before, and is observed in both."""
    far_TJ = np.zeros(seen_TJ.shape, dtype=bool)
    moves_TJ = np.linalg.norm(np.diff(points_TJC.astype(np.float64), axis=0), axis=-1)
    far_TJ[1:] = (moves_TJ > least_move) & seen_TJ[1:] & seen_TJ[:-1]
    return far_TJ


def find_frames_beyond_jumps(
    jump_T: Bool[np.ndarray, "T"], seen_T: Bool[np.ndarray, "T"], near: Callable[[int, int], bool]
) -> Bool[np.ndarray, "T"]:
    """Tell which frames are separated by jumps from most of the other frames.

    Starting with the longest run, forwards and backwards, the next run is added if ``near`` tells that its nearest
    frame can be reached from the last frame that was added.
    """
    frames = [part[seen_T[part]] for part in np.split(np.arange(len(jump_T)), np.flatnonzero(jump_T))]
    stretches = [part for part in frames if part.size]
    beyond_T = seen_T.copy()
    if not stretches:
        return beyond_T
    longest = max(range(len(stretches)), key=lambda number: len(stretches[number]))
    beyond_T[stretches[longest]] = False
    for onward, facing, far_end in ((stretches[longest + 1 :], 0, -1), (stretches[:longest][::-1], -1, 0)):
        last = int(stretches[longest][far_end])
        for part in onward:
            if near(last, int(part[facing])):
                beyond_T[part] = False
                last = int(part[far_end])
    return beyond_T


def with_sides_exchanged(sequence: MotionSequence, limb: str, wrong_T: Bool[np.ndarray, "T"]) -> MotionSequence:
    """Return the sequence with left and right of a limb exchanged in these frames."""
    left, right = limb_indices(limb)
    order = np.arange(len(H36M17.joints))
    order[left], order[right] = right, left

    def exchanged(values: np.ndarray) -> np.ndarray:
        mask = wrong_T.reshape(-1, *([1] * (values.ndim - 1)))
        return np.where(mask, values[:, order], values)

    return _changed(sequence, exchanged)


def without(sequence: MotionSequence, lost_TJ: Bool[np.ndarray, "T J"]) -> MotionSequence:
    """Return the sequence with these joints not observed in these frames."""

    def removed(values: np.ndarray) -> np.ndarray:
        mask = lost_TJ.reshape(*lost_TJ.shape, *([1] * (values.ndim - 2)))
        return np.where(mask, np.zeros((), values.dtype), values)

    return _changed(sequence, removed)


def named(joints: Sequence[int]) -> str:
    """Return joint names for messages."""
    return ", ".join(H36M17.joints[joint] for joint in joints)


def _changed(sequence: MotionSequence, change: Callable[[np.ndarray], np.ndarray]) -> MotionSequence:
    points_3d, points_2d = sequence.keypoints_3d_TJC, sequence.keypoints_2d_TJC
    return replace(
        sequence,
        keypoints_3d_TJC=None if points_3d is None else change(points_3d),
        keypoints_2d_TJC=None if points_2d is None else change(points_2d),
        confidence_TJ=change(sequence.confidence_TJ),
    )
