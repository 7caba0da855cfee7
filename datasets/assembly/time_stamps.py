"""What the time stamps of images say: the rate of their video, and which of its frames each image is.

The unit is the one in which the images follow each other at 0.5 to 250 Hz; seconds, milliseconds, micro- and
nanoseconds lie so far apart that at most one fits. Stamps 1 apart count images, whatever their name. Stamps that are
rounded to milliseconds still give the rate to a hundredth of a hertz. Where images are missing, their frames are.

Shapes: F images in the order of time.
"""

from dataclasses import dataclass

import numpy as np

from motion_encoder.shapes import Float, Int

PLAUSIBLE_HZ = (0.5, 250.0)
UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNEVEN = 0.1
"""Frames that an image may be away from an even rhythm. Rounding to milliseconds makes 0.03 at 60 Hz; a program that
takes images when it has the time makes more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clock:
    """When images were taken, and what follows from it."""

    seconds_F: Float[np.ndarray, "F"]
    unit: str
    fps: float
    frame_F: Int[np.ndarray, "F"] | None
    """Numbers of the frames at this rate, from 0; None where the images are not evenly spaced."""


def read_clock(stamps_F: Float[np.ndarray, "F"], unit: str | None) -> Clock | None:
    """Return what stamps say, in this unit or a plausible one; None for stamps that do not grow or fit no unit."""
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
    """Return frame numbers and their rate: the line through all stamps, once the usual step has numbered them."""
    steps = np.diff(seconds_F)
    usual = float(np.median(steps))
    usual = float(np.mean(steps[steps < 1.5 * usual]))
    frame_F = np.concatenate([[0], np.cumsum(np.maximum(np.round(steps / usual), 1))]).astype(np.int64)
    centred_F = frame_F - frame_F.mean()
    seconds_a_frame = float((centred_F * seconds_F).sum() / (centred_F**2).sum())
    return frame_F, 1 / seconds_a_frame
