"""Jumps between neighbouring frames: joints that teleport, and sides that are exchanged; and how they are mended.

A stretch is what lies between two jumps. Where stretches that fit together hold nearly all frames, the rest is the
fault and can be told from the truth; where two halves stand against each other, nobody knows which one is right.

Shapes: T frames, J = 17 joints, C = 2 or 3 channels, K joints of one limb.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from datasets.sequences import MotionSequence
from motion_encoder.shapes import Bool, Float, Int
from motion_encoder.skeletons import H36M17

LIMB_JOINTS = {"legs": ("hip", "knee", "ankle"), "arms": ("shoulder", "elbow", "wrist")}


def far_moves(
    points_TJC: Float[np.ndarray, "T J C"], seen_TJ: Bool[np.ndarray, "T J"], least_move: float
) -> Bool[np.ndarray, "T J"]:
    """Tell where a joint is farther than ``least_move`` from where it was in the frame before, and seen in both."""
    far_TJ = np.zeros(seen_TJ.shape, dtype=bool)
    moves_TJ = np.linalg.norm(np.diff(points_TJC.astype(np.float64), axis=0), axis=-1)
    far_TJ[1:] = (moves_TJ > least_move) & seen_TJ[1:] & seen_TJ[:-1]
    return far_TJ


def beyond_jumps(
    jump_T: Bool[np.ndarray, "T"], seen_T: Bool[np.ndarray, "T"], near: Callable[[int, int], bool]
) -> Bool[np.ndarray, "T"]:
    """Tell which frames lie beyond jumps from where most frames are.

    From the longest stretch on, forwards and backwards, a stretch belongs to it if ``near`` says that its end that
    faces it could be reached from the frame last taken in.
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


def limb_indices(limb: str) -> tuple[list[int], list[int]]:
    """Return the joints of ``legs`` or ``arms``: of the left side, and of the right one in the same order."""
    left, right = ([H36M17.index(side + joint) for joint in LIMB_JOINTS[limb]] for side in "lr")
    return left, right


def exchanges(
    points_TJC: Float[np.ndarray, "T J C"], seen_TJ: Bool[np.ndarray, "T J"], limb: str, *, least_move: float
) -> Int[np.ndarray, "N"]:
    """Return the frames before which left and right of a limb change places.

    There the joints come to stand, within half the way, where those of the other side stood, and the mean way is more
    than ``least_move``.
    """
    left, right = limb_indices(limb)
    both = [*left, *right]
    seen_T = np.asarray(seen_TJ[:, both].all(axis=-1))
    before_TKC, after_TKC = points_TJC[:-1, both].astype(np.float64), points_TJC[1:, both].astype(np.float64)
    crossed_TKC = points_TJC[1:, [*right, *left]].astype(np.float64)
    kept_T = np.linalg.norm(after_TKC - before_TKC, axis=-1).mean(axis=-1)
    crossed_T = np.linalg.norm(crossed_TKC - before_TKC, axis=-1).mean(axis=-1)
    return np.flatnonzero((crossed_T < kept_T / 2) & (kept_T > least_move) & seen_T[1:] & seen_T[:-1]) + 1


def on_the_lesser_side(at: Int[np.ndarray, "N"], num_frames: int) -> Bool[np.ndarray, "T"]:
    """Tell which frames have the sides the way that fewer frames have them."""
    turned_T = np.zeros(num_frames, dtype=int)
    turned_T[at] = 1
    odd_T = np.cumsum(turned_T) % 2 == 1
    return odd_T if 2 * odd_T.sum() <= num_frames else ~odd_T


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
    """Joint names for messages."""
    return ", ".join(H36M17.joints[joint] for joint in joints)


def _changed(sequence: MotionSequence, change: Callable[[np.ndarray], np.ndarray]) -> MotionSequence:
    points_3d, points_2d = sequence.keypoints_3d_TJC, sequence.keypoints_2d_TJC
    return replace(
        sequence,
        keypoints_3d_TJC=None if points_3d is None else change(points_3d),
        keypoints_2d_TJC=None if points_2d is None else change(points_2d),
        confidence_TJ=change(sequence.confidence_TJ),
    )
