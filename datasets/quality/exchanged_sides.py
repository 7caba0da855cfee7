"""Find the frames in which a detector exchanged left and right of a limb, for all frames of a sequence together.

An exchange is clear if both sides move to less than half their distance from the other side's positions. This test is
not enough: if the exchange back is less clear, the rest of the sequence would count as exchanged. So the exchanges are
chosen together, such that the joints move least and most evenly. They divide the frames into two groups, and the
smaller group is wrong; an exchange that is not clear counts only with a clear one at the other end.

A sequence without a clear exchange is never changed. In 780 clips of CMU and HDM05, projected to an image at 30 Hz with
noise of 2 % of the body's size, the legs were exchanged in one to three single frames: 18 clips were rejected and 2
wrongly repaired; if each frame is decided by itself, it is 152 and 8. Of as many clips that were exchanged from one
frame to the end, 3 were wrongly repaired (none before).

Shapes: T frames, J = 17 joints, C = 2 or 3 channels, K = 6 joints of a limb, left ones first.
"""

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

LIMB_JOINTS = {"legs": ("hip", "knee", "ankle"), "arms": ("shoulder", "elbow", "wrist")}
_CLEAR, _POSSIBLE = 0.5, 0.8
"""An exchange is clear, or possible, if the joints' distance to the other side's last positions is below this share of
the distance to their own."""
_COST = 0.5
"""Cost of one exchange, in units of ``least_move``, so that noise does not cause one."""


def limb_indices(limb: str) -> tuple[list[int], list[int]]:
    """Return the joints of ``legs`` or ``arms`` on the left side, and those on the right side in the same order."""
    left, right = ([H36M17.index(side + joint) for joint in LIMB_JOINTS[limb]] for side in "lr")
    return left, right


def find_exchanged_frames(
    points_TJC: Float[np.ndarray, "T J C"], seen_TJ: Bool[np.ndarray, "T J"], limb: str, *, least_move: float
) -> Bool[np.ndarray, "T"]:
    """Return the frames in which left and right of a limb are exchanged, at most half of all.

    ``least_move`` is a mean distance of the joints, in the unit of the points. With smaller moves, the limbs may just
    pass each other.
    """
    left, right = limb_indices(limb)
    both = [*left, *right]
    own_TKC, other_TKC = points_TJC[:, both].astype(np.float64), points_TJC[:, [*right, *left]].astype(np.float64)
    distance_T2 = _distances(own_TKC, other_TKC, np.asarray(seen_TJ[:, both].all(axis=-1)))
    clear_T = (distance_T2[:, 1] < _CLEAR * distance_T2[:, 0]) & (distance_T2[:, 0] > least_move)
    if not clear_T.any():
        return clear_T
    change_T22 = _jerkiness(own_TKC, other_TKC, np.isfinite(distance_T2[:, 1]))
    may_turn_T = clear_T | (distance_T2[:, 1] < _POSSIBLE * distance_T2[:, 0])
    distance_T2[:, 1] = np.where(may_turn_T, distance_T2[:, 1] + _COST * least_move, np.inf)
    turn_T = _cheapest_exchanges(distance_T2, change_T22)
    return min(_with_a_clear_end(_minority(turn_T), clear_T), _minority(clear_T), key=np.count_nonzero)


def describe_exchange(wrong_T: Bool[np.ndarray, "T"]) -> str:
    """Describe where the longest run of exchanged frames begins, or ends if the sequence begins with it."""
    first, end = max(_joined(_runs(wrong_T)), key=lambda run: run[1] - run[0])
    back = f"and back in frame {end}" if first > 0 and end < len(wrong_T) else "and never back"
    return f"an exchange in frame {first or end}, {back}: exchanged are {wrong_T.sum()} of {len(wrong_T)} frames"


def _distances(
    own_TKC: Float[np.ndarray, "T K C"], other_TKC: Float[np.ndarray, "T K C"], seen_T: Bool[np.ndarray, "T"]
) -> Float[np.ndarray, "T 2"]:
    """Mean distance of the joints from the frame before, if sides are kept and if they are exchanged.

    If the limb is not fully observed in one of the two frames, sides count as kept: 0 and infinity.
    """
    distance_T2 = np.tile([0.0, np.inf], (len(own_TKC), 1))
    linked_T = seen_T[1:] & seen_T[:-1]
    for turned, points_TKC in enumerate((own_TKC, other_TKC)):
        mean_T = np.linalg.norm(points_TKC[1:] - own_TKC[:-1], axis=-1).mean(axis=-1)
        distance_T2[1:, turned] = np.where(linked_T, mean_T, distance_T2[1:, turned])
    return distance_T2


def _jerkiness(
    own_TKC: Float[np.ndarray, "T K C"], other_TKC: Float[np.ndarray, "T K C"], linked_T: Bool[np.ndarray, "T"]
) -> Float[np.ndarray, "T 2 2"]:
    """Mean change of the joints' motion from one step to the next, by whether sides were exchanged in either.

    Legs that pass each other move evenly only if they are not exchanged; exchanged legs, only if they are exchanged
    back. 0 unless the limb is fully observed in three frames in a row.
    """
    change_T22 = np.zeros((len(own_TKC), 2, 2))
    for before, first_TKC in enumerate((own_TKC, other_TKC)):
        for after, last_TKC in enumerate((own_TKC, other_TKC)):
            change_TKC = last_TKC[2:] - 2 * own_TKC[1:-1] + first_TKC[:-2]
            change_T22[2:, before, after] = np.linalg.norm(change_TKC, axis=-1).mean(axis=-1)
    change_T22[2:][~(linked_T[2:] & linked_T[1:-1])] = 0
    return change_T22


def _cheapest_exchanges(
    distance_T2: Float[np.ndarray, "T 2"], change_T22: Float[np.ndarray, "T 2 2"]
) -> Bool[np.ndarray, "T"]:
    """Return before which frames to exchange the sides, so that distances and changes have the least sum (Viterbi)."""
    cost_2 = np.array([0.0, np.inf])
    came_from = np.zeros((len(distance_T2), 2), dtype=int)
    for frame in range(1, len(distance_T2)):
        cost_22 = cost_2[:, None] + change_T22[frame]
        came_from[frame] = cost_22.argmin(axis=0)
        cost_2 = cost_22.min(axis=0) + distance_T2[frame]
    turn_T = np.zeros(len(distance_T2), dtype=bool)
    turned = int(cost_2.argmin())
    for frame in range(len(distance_T2) - 1, 0, -1):
        turn_T[frame] = turned
        turned = int(came_from[frame, turned])
    return turn_T


def _minority(turn_T: Bool[np.ndarray, "T"]) -> Bool[np.ndarray, "T"]:
    """Return the frames whose left/right labels disagree with the majority."""
    odd_T = np.cumsum(turn_T) % 2 == 1
    return odd_T if 2 * odd_T.sum() <= len(odd_T) else ~odd_T


def _with_a_clear_end(wrong_T: Bool[np.ndarray, "T"], clear_T: Bool[np.ndarray, "T"]) -> Bool[np.ndarray, "T"]:
    """Return the wrong frames without the runs that neither begin nor end with a clear exchange."""
    clear_T = np.append(clear_T, False)
    kept_T = np.zeros_like(wrong_T)
    for first, end in _runs(wrong_T):
        kept_T[first:end] = clear_T[first] | clear_T[end]
    return kept_T


def _runs(wrong_T: Bool[np.ndarray, "T"]) -> list[tuple[int, int]]:
    """Return the runs of true frames, each as its first frame and the first frame after it."""
    ends = np.flatnonzero(np.diff(wrong_T, prepend=False, append=False))
    return list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join two runs if both are longer than the gap between them: single frames within an exchange."""
    joined = runs[:1]
    for first, end in runs[1:]:
        before, gap = joined[-1], first - joined[-1][1]
        if gap < min(before[1] - before[0], end - first):
            joined[-1] = (before[0], end)
        else:
            joined.append((first, end))
    return joined
