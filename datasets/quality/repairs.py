"""Repair a sequence before it is checked, and describe the repairs.

Only clear faults of a few frames are repaired: points far outside the image, a joint or a whole person that jumps away
and back, left and right exchanged. The checks reject everything else. No data are invented: wrong points become not
observed.

Shapes: T frames, J = 17 joints, N pairs of frames.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from datasets.quality import exchanged_sides, jumps
from datasets.quality.limits import CheckLimits
from datasets.sequences import MotionSequence
from motion_encoder.shapes import Bool, Float, Int


def repaired(sequence: MotionSequence, limits: CheckLimits) -> tuple[MotionSequence, tuple[str, ...]]:
    """Return the sequence without these faults, or the same sequence if it has none, and what was repaired."""
    repairs: list[str] = []
    of_motion = (_without_joint_jumps, _without_box_jumps, _with_sides_right) if sequence.num_frames > 1 else ()
    for repair in (_inside_image, *of_motion):
        sequence, done = repair(sequence, limits)
        repairs += done
    return (replace(sequence, repairs=(*sequence.repairs, *repairs)) if repairs else sequence), tuple(repairs)


def _inside_image(sequence: MotionSequence, limits: CheckLimits) -> tuple[MotionSequence, list[str]]:
    points_TJ2, seen_TJ = sequence.keypoints_2d_TJC, sequence.confidence_TJ > 0
    if points_TJ2 is None or sequence.keypoints_3d_TJC is not None:
        return sequence, []
    outside_TJ = outside(points_TJ2, seen_TJ, sequence.image_size, limits)
    if not 0 < outside_TJ.sum() <= limits.faulty_share * seen_TJ.sum():
        return sequence, []
    return jumps.without(sequence, outside_TJ), [f"{outside_TJ.sum()} points far outside the image left out"]


def _without_joint_jumps(sequence: MotionSequence, limits: CheckLimits) -> tuple[MotionSequence, list[str]]:
    seen_TJ = sequence.confidence_TJ > 0
    jump_TJ, lost_TJ = find_joint_jumps(sequence, limits), np.zeros_like(seen_TJ)
    for joint in np.flatnonzero(jump_TJ.any(axis=0)):
        lost_T = jumps.find_frames_beyond_jumps(
            jump_TJ[:, joint], seen_TJ[:, joint], _joint_near(sequence, int(joint), limits)
        )
        if lost_T.sum() <= limits.faulty_share * seen_TJ[:, joint].sum():
            lost_TJ[:, joint] = lost_T
    if not lost_TJ.any():
        return sequence, []
    joints = jumps.named(np.flatnonzero(lost_TJ.any(axis=0)).tolist())
    return jumps.without(sequence, lost_TJ), [
        f"left out where they jump, in {lost_TJ.any(axis=1).sum()} frames: {joints}"
    ]


def _without_box_jumps(sequence: MotionSequence, limits: CheckLimits) -> tuple[MotionSequence, list[str]]:
    seen_TJ, jump_T = sequence.confidence_TJ > 0, find_box_jumps(sequence, limits)
    lost_T = jumps.find_frames_beyond_jumps(
        jump_T, np.asarray(seen_TJ.any(axis=-1)), lambda a, b: _box_near(sequence, a, b, limits)
    )
    if not 0 < lost_T.sum() <= limits.faulty_share * seen_TJ.any(axis=-1).sum():
        return sequence, []
    lost_TJ = np.broadcast_to(lost_T[:, None], seen_TJ.shape)
    return jumps.without(sequence, lost_TJ), [f"the person left out in {lost_T.sum()} frames: the box jumps"]


def _with_sides_right(sequence: MotionSequence, limits: CheckLimits) -> tuple[MotionSequence, list[str]]:
    repairs = []
    for limb in exchanged_sides.LIMB_JOINTS:
        wrong_T = find_exchanged_frames(sequence, limb, limits)
        if 0 < wrong_T.sum() <= limits.faulty_share * sequence.num_frames:
            sequence = jumps.with_sides_exchanged(sequence, limb, wrong_T)
            repairs.append(f"{limb}: left and right exchanged back in {wrong_T.sum()} frames")
    return sequence, repairs


def find_joint_jumps(sequence: MotionSequence, limits: CheckLimits) -> Bool[np.ndarray, "T J"]:
    """Return the jumps of single joints in 3D; the root's speed has its own check."""
    seen_TJ = sequence.confidence_TJ > 0
    if sequence.keypoints_3d_TJC is None:
        return np.zeros_like(seen_TJ)
    jump_TJ = jumps.find_far_moves(sequence.keypoints_3d_TJC, seen_TJ, _joint_jump_m(sequence.fps, limits))
    jump_TJ[:, 0] = False
    return jump_TJ


def find_box_jumps(sequence: MotionSequence, limits: CheckLimits) -> Bool[np.ndarray, "T"]:
    """Return the frames before which the joints move by more than the person's size on average."""
    jump_T = np.zeros(sequence.num_frames, dtype=bool)
    if sequence.keypoints_2d_TJC is not None:
        before_T = np.arange(sequence.num_frames - 1)
        jump_T[1:] = _box_moves(sequence, before_T, before_T + 1) * sequence.fps > limits.box_speed
    return jump_T


def _joint_jump_m(fps: float, limits: CheckLimits) -> float:
    return max(limits.joint_jump_m, limits.joint_speed_m_s / fps)


def _joint_near(sequence: MotionSequence, joint: int, limits: CheckLimits) -> Callable[[int, int], bool]:
    points_TJ3 = sequence.keypoints_3d_TJC
    assert points_TJ3 is not None, "without 3D there are no jumps of joints"
    reach = _joint_jump_m(sequence.fps, limits)

    def near(a: int, b: int) -> bool:
        return bool(np.linalg.norm(points_TJ3[a, joint] - points_TJ3[b, joint]) <= reach * abs(b - a))

    return near


def _box_near(sequence: MotionSequence, a: int, b: int, limits: CheckLimits) -> bool:
    [move] = _box_moves(sequence, np.array([a]), np.array([b]))
    return bool(move * sequence.fps <= limits.box_speed * abs(b - a))


def _box_moves(
    sequence: MotionSequence, before_N: Int[np.ndarray, "N"], after_N: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """Mean distance of the joints observed in both frames, in sizes of the person; 0 if they are fewer than 4."""
    assert sequence.keypoints_2d_TJC is not None, "without 2D there is no box"
    before_NJ2, after_NJ2 = sequence.keypoints_2d_TJC[before_N], sequence.keypoints_2d_TJC[after_N]
    seen_before_NJ, seen_after_NJ = sequence.confidence_TJ[before_N] > 0, sequence.confidence_TJ[after_N] > 0
    both_NJ = seen_before_NJ & seen_after_NJ
    move_NJ = np.linalg.norm(before_NJ2.astype(np.float64) - after_NJ2, axis=-1)
    move_N = (move_NJ * both_NJ).sum(axis=-1) / np.maximum(both_NJ.sum(axis=-1), 1)
    size_N = np.maximum(sizes(before_NJ2, seen_before_NJ), sizes(after_NJ2, seen_after_NJ))
    return move_N / np.maximum(size_N, 1e-9) * (both_NJ.sum(axis=-1) >= 4)


def find_exchanged_frames(sequence: MotionSequence, limb: str, limits: CheckLimits) -> Bool[np.ndarray, "T"]:
    """Return the frames in which left and right of ``legs`` or ``arms`` are exchanged."""
    seen_TJ = sequence.confidence_TJ > 0
    if sequence.keypoints_3d_TJC is not None:
        return exchanged_sides.find_exchanged_frames(
            sequence.keypoints_3d_TJC, seen_TJ, limb, least_move=limits.exchange_m
        )
    points_TJ2 = sequence.keypoints_2d_TJC
    assert points_TJ2 is not None, "the basic checks come first"
    size = float(np.median(sizes(points_TJ2, seen_TJ)[seen_TJ.any(axis=-1)]))
    return exchanged_sides.find_exchanged_frames(points_TJ2, seen_TJ, limb, least_move=limits.exchange_2d * size)


def outside(
    points_TJ2: Float[np.ndarray, "T J 2"],
    seen_TJ: Bool[np.ndarray, "T J"],
    image_size: tuple[int, int] | None,
    limits: CheckLimits,
) -> Bool[np.ndarray, "T J"]:
    """Tell which points are too far outside the image to be an extrapolated joint; none if its size is unknown."""
    if image_size is None:
        return np.zeros_like(seen_TJ)
    size_2 = np.array(image_size, dtype=np.float64)
    margin_2 = limits.image_margin * size_2
    return ((points_TJ2 < -margin_2) | (points_TJ2 > size_2 + margin_2)).any(axis=-1) & seen_TJ


def sizes(points_TJ2: Float[np.ndarray, "T J 2"], seen_TJ: Bool[np.ndarray, "T J"]) -> Float[np.ndarray, "T"]:
    """Return the diagonal of the box around the observed joints, in pixels; 0 if there are none."""
    seen_TJ1 = seen_TJ[..., None]
    low_T2 = np.where(seen_TJ1, points_TJ2, np.inf).min(axis=1)
    high_T2 = np.where(seen_TJ1, points_TJ2, -np.inf).max(axis=1)
    return np.linalg.norm(np.where(np.isfinite(low_T2), high_T2 - low_T2, 0), axis=-1)
