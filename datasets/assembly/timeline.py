"""Lay the detections of one person out over time: a frame for every frame of the video, whether detected or not.

A tracklet is a part of a person's track without a gap of more than two seconds; each becomes a sequence of its own. Two
empty seconds would teach nothing, and recordings that were concatenated are split there.

A detector that looked at every second frame alone leaves no gaps: the rate is half of the video's. That holds down to
10 Hz, the rate at which Human3.6M is published for training (every fifth frame of 50 Hz). Between frames that lie
farther apart a straight line would be made-up motion, so what is between them stays unseen.

Shapes: N detections of a video, M of one person, S of one tracklet, T frames, J = 17 joints.
"""

import numpy as np

from datasets.sequences import RecordingError
from motion_encoder.shapes import Float, Int

MAX_GAP_SECONDS = 2.0
MAX_FRAMES = 1_000_000
"""Nine hours; a wider span of frame numbers is no video, but names that mean something else."""
_SAME_FRAME = 1e-3
"""Of a frame: seconds since 1970 are exact to a quarter of a microsecond."""
_MIN_SAMPLED_HZ = 10.0
_MIN_SAMPLED_FRAMES = 8
"""Frames that share a step of two by chance would be one file in a hundred."""


def check_times(times_T: Float[np.ndarray, "T"], path: str) -> None:
    """Check the frame times that a recording states, in any unit.

    Raises:
        RecordingError: They are not finite, or do not grow from frame to frame.
    """
    if not np.isfinite(times_T).all():
        found = "others"
    elif (np.diff(times_T) <= 0).any():
        at = int(np.flatnonzero(np.diff(times_T) <= 0)[0])
        found = f"{times_T[at + 1]:g} after {times_T[at]:g}, in frame {at + 1}"
    else:
        return
    raise RecordingError(
        path, where="frame times", expected="finite and growing ones", found=found, fix="Sort the frames by time."
    )


def sampling_step(frame_N: Int[np.ndarray, "N"], fps: float) -> int:
    """Return the step that all frame numbers share where a detector looked at every second or third alone, else 1."""
    frames = np.unique(frame_N)
    step = int(np.gcd.reduce(np.diff(frames))) if len(frames) >= _MIN_SAMPLED_FRAMES else 1
    return step if fps / step >= _MIN_SAMPLED_HZ else 1


def split_tracklets(at_M: Float[np.ndarray, "M"], fps: float) -> list[Int[np.ndarray, "S"]]:
    """Split a track, given by the times of its detections in frames, where the person is gone for over two seconds."""
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
