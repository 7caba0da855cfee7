"""Lay out over time what was seen of one person: a frame for every frame of the video, seen or not.

A person who is gone for more than two seconds comes back as another sequence: two seconds of nothing would teach
nothing, and recordings that were concatenated come apart there.

Shapes: M detections of one person, S of one stay, T frames, J = 17 joints.
"""

import numpy as np

from motion_encoder.shapes import Float, Int

MAX_GAP_SECONDS = 2.0
MAX_FRAMES = 1_000_000
"""Nine hours; a wider span of frame numbers is no video, but names that mean something else."""
_SAME_FRAME = 1e-3
"""Of a frame: seconds since 1970 are exact to a quarter of a microsecond."""


def stays(at_M: Float[np.ndarray, "M"], fps: float) -> list[Int[np.ndarray, "S"]]:
    """Part detections, at these times in frames, where the person is gone for more than two seconds."""
    return np.split(np.arange(len(at_M)), np.flatnonzero(np.diff(at_M) > MAX_GAP_SECONDS * fps + _SAME_FRAME) + 1)


def lay_out(
    at_M: Float[np.ndarray, "M"], keypoints_MJ2: Float[np.ndarray, "M 17 2"], confidence_MJ: Float[np.ndarray, "M 17"]
) -> tuple[Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Bring detections at ``at_M`` frames, ascending, to whole frames from the first on.

    What falls on a frame stays as it is. What does not comes from a straight line between two neighbours: a joint is
    observed if both see it, and no image is missing between them (they are less than two frames apart).

    Raises:
        ValueError: It would be more than a million frames.
    """
    at_M = at_M - at_M[0]
    if at_M[-1] > MAX_FRAMES:
        raise ValueError(f"expected at most {MAX_FRAMES:,} frames of one person, found {at_M[-1]:.0f}")
    frame_T = np.arange(int(at_M[-1] + _SAME_FRAME) + 1)
    right_T = np.minimum(np.searchsorted(at_M, frame_T - _SAME_FRAME), len(at_M) - 1)
    falls_on_T = np.abs(at_M[right_T] - frame_T) <= _SAME_FRAME
    left_T = np.where(falls_on_T, right_T, np.maximum(right_T - 1, 0))
    step_T = at_M[right_T] - at_M[left_T]
    part_T = np.where(falls_on_T, 0, (frame_T - at_M[left_T]) / np.maximum(step_T, 1e-6)).astype(np.float32)
    seen_TJ = ((confidence_MJ[left_T] > 0) & (confidence_MJ[right_T] > 0)) & (step_T < 2)[:, None]
    keypoints_TJ2 = keypoints_MJ2[left_T] * (1 - part_T)[:, None, None] + keypoints_MJ2[right_T] * part_T[:, None, None]
    confidence_TJ = np.minimum(confidence_MJ[left_T], confidence_MJ[right_T])
    return keypoints_TJ2 * seen_TJ[..., None], confidence_TJ * seen_TJ
