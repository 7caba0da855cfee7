"""Lay the detections of one person out over time, with a frame for every frame of the video, detected or not.

A tracklet is a part of a track without a gap of more than two seconds; each becomes a sequence. Two empty seconds would
teach a model nothing, and concatenated recordings are split there.

A detector that ran on every second frame only leaves no gaps: the rate is half of the video's. This holds down to 10
Hz, the rate at which Human3.6M is published for training (every fifth frame of 50 Hz). Between frames that are farther
apart, a straight line would be invented motion, so the frames between them are not observed.

Shapes: N detections of a video, M of one person, S of one tracklet, T frames, J = 17 joints.
"""

import numpy as np

from datasets.sequences import RecordingError
from motion_encoder.shapes import Float, Int

MAX_GAP_SECONDS = 2.0
MAX_FRAMES = 1_000_000
"""Nine hours at 30 Hz. Numbers over a larger range are not frame numbers of a video."""
_SAME_FRAME = 1e-3
"""Tolerance in frames: seconds since 1970 are exact to a quarter of a microsecond."""
_MIN_SAMPLED_HZ = 10.0
_MIN_SAMPLED_FRAMES = 8
"""Fewest frames: with fewer, more than one file in a hundred would have a common step of two by chance."""


def check_times(times_T: Float[np.ndarray, "T"], path: str) -> None:
    """Check the frame times that a recording states, in any unit.

    Raises:
        RecordingError: They are not finite, or do not increase from frame to frame.
    """
    if not np.isfinite(times_T).all():
        found = "others"
    elif (np.diff(times_T) <= 0).any():
        at = int(np.flatnonzero(np.diff(times_T) <= 0)[0])
        found = f"{times_T[at + 1]:g} after {times_T[at]:g}, in frame {at + 1}"
    else:
        return
    raise RecordingError(
        path, where="frame times", expected="finite, increasing times", found=found, fix="Sort the frames by time."
    )


def sampling_step(frame_N: Int[np.ndarray, "N"], fps: float) -> int:
    """Return the common step of all frame numbers if a detector ran on every second or third frame only, else 1."""
    frames = np.unique(frame_N)
    step = int(np.gcd.reduce(np.diff(frames))) if len(frames) >= _MIN_SAMPLED_FRAMES else 1
    return step if fps / step >= _MIN_SAMPLED_HZ else 1


def split_tracklets(at_M: Float[np.ndarray, "M"], fps: float) -> list[Int[np.ndarray, "S"]]:
    """Split a track (times of its detections, in frames) where the person is missing for over two seconds."""
    return np.split(np.arange(len(at_M)), np.flatnonzero(np.diff(at_M) > MAX_GAP_SECONDS * fps + _SAME_FRAME) + 1)


def lay_out(
    at_M: Float[np.ndarray, "M"], keypoints_MJ2: Float[np.ndarray, "M 17 2"], confidence_MJ: Float[np.ndarray, "M 17"]
) -> tuple[Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Resample detections at ascending times ``at_M``, in frames, to whole frames from the first one.

    Detections exactly at a frame are unchanged. Others are interpolated linearly between two neighbours: a joint is
    observed if it is observed in both and no image is missing between them (they are less than two frames apart).

    Raises:
        ValueError: The result would have more than a million frames.
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
