"""Evaluate the time stamps of images: the rate of their video, and the frame number of each image.

The unit is the one in which the images follow each other at 0.5 to 250 Hz. Seconds, milliseconds, microseconds and
nanoseconds are so far apart that at most one is plausible. Stamps that grow by 1 count images, whatever their column is
called. Stamps rounded to milliseconds still give the rate to a hundredth of a hertz. Missing images become missing
frames.

Shapes: F images in the order of time.
"""

from dataclasses import dataclass

import numpy as np

from motion_encoder.shapes import Float, Int

PLAUSIBLE_HZ = (0.5, 250.0)
UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNEVEN = 0.1
"""Largest deviation of an image from an even rhythm, in frames. Rounding to milliseconds gives 0.03 at 60 Hz; a program
that takes images irregularly gives more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clock:
    """The times of images, their rate and their frame numbers."""

    seconds_F: Float[np.ndarray, "F"]
    unit: str
    fps: float
    frame_F: Int[np.ndarray, "F"] | None
    """Frame numbers at this rate, from 0; None if the images are not evenly spaced."""


def read_clock(stamps_F: Float[np.ndarray, "F"], unit: str | None) -> Clock | None:
    """Return the clock for stamps in this unit or a plausible one; None if they do not increase or no unit fits."""
    steps = np.diff(stamps_F)
    if len(steps) == 0 or not np.isfinite(stamps_F).all() or (steps <= 0).any():
        return None
    unit = unit or _plausible_unit(float(np.median(steps)))
    if unit is None:
        return None
    seconds_F = (stamps_F - stamps_F[0]) * UNITS_S[unit]
    frame_F, fps = _rhythm(seconds_F)
    even = bool((np.abs(seconds_F * fps - frame_F - np.mean(seconds_F * fps - frame_F)) < _UNEVEN).all())
    return Clock(seconds_F=seconds_F, unit=unit, fps=round(fps, 2), frame_F=frame_F if even else None)


def _plausible_unit(step: float) -> str | None:
    low, high = PLAUSIBLE_HZ
    if step == 1:
        return None
    return next((unit for unit, seconds in UNITS_S.items() if low <= 1 / (step * seconds) <= high), None)


def _rhythm(seconds_F: Float[np.ndarray, "F"]) -> tuple[Int[np.ndarray, "F"], float]:
    """Return frame numbers and their rate: number the stamps by the median step, then fit a line through all."""
    steps = np.diff(seconds_F)
    usual = float(np.median(steps))
    usual = float(np.mean(steps[steps < 1.5 * usual]))
    frame_F = np.concatenate([[0], np.cumsum(np.maximum(np.round(steps / usual), 1))]).astype(np.int64)
    centred_F = frame_F - frame_F.mean()
    seconds_a_frame = float((centred_F * seconds_F).sum() / (centred_F**2).sum())
    return frame_F, 1 / seconds_a_frame
