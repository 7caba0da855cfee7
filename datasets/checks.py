"""What a sequence must be before it may enter the store; what fails goes to the quarantine table with its reason.

The bounds are wide on purpose: they catch broken files and wrong units, not unusual people. All 325 public motion
capture recordings that this was built on pass; a centimetre file read as metres, or a swapped skeleton file, does not.

Shapes: T frames, J = 17 joints.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

LIMBS = tuple(
    (side + start, side + end)
    for side in "lr"
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
"""Bones that no rig divides: the only ones whose length must not change."""
HEIGHT_CHAINS = (("rhip", "rknee", "rankle"), ("root", "belly", "neck", "nose", "head"))
"""Leg and spine; their summed length is about 0.96 of a person's stature."""


@dataclass(frozen=True, kw_only=True)
class CheckLimits:
    """The bounds."""

    fps: tuple[float, float] = (1.0, 1000.0)
    min_frames_3d: int = 2
    """A single frame is a still: fine in 2D, no motion in 3D."""
    height_m: tuple[float, float] = (0.9, 2.3)
    """Leg plus spine, metres: children from about four years on."""
    limb_change: float = 0.1
    """Nine tenths of all frames have a limb within this share of its median length."""
    root_speed_m_s: float = 15.0
    """The fastest sprinters reach 12.4; a capture that lost its track jumps by far more."""


@dataclass(frozen=True)
class Problem:
    """Where a sequence breaks a bound, and by what."""

    where: str
    expected: str
    found: str


def check(sequence: MotionSequence, limits: CheckLimits | None = None) -> MotionSequence:
    """Return the sequence as it is.

    Raises:
        RecordingError: It breaks a bound; the first one is named.
    """
    for problem in find_problems(sequence, limits):
        raise RecordingError(
            f"{sequence.source}/{sequence.sequence_id}",
            where=problem.where,
            expected=problem.expected,
            found=problem.found,
            fix="Look at the recording; if it is right, widen CheckLimits.",
        )
    return sequence


def find_problems(sequence: MotionSequence, limits: CheckLimits | None = None) -> Iterator[Problem]:
    """Yield each bound that is broken, the basic ones first; later checks rely on the earlier ones."""
    limits = limits or CheckLimits()
    basic = list(_basics(sequence, limits))
    yield from basic
    if basic or sequence.keypoints_3d_TJC is None:
        return
    seen_TJ = sequence.confidence_TJ > 0
    yield from _limbs(sequence.keypoints_3d_TJC, seen_TJ, limits)
    yield from _height(sequence.keypoints_3d_TJC, seen_TJ, limits)
    yield from _speed(sequence.keypoints_3d_TJC[:, 0], seen_TJ[:, 0], sequence.fps, limits)


def content_digest(sequence: MotionSequence) -> str:
    """Return a digest that two copies of the same motion share, whatever their names and wherever they stand.

    Positions relative to the root, rounded to a millimetre or a tenth of a pixel, with rate and missing joints.
    """
    digest = hashlib.sha256(f"{sequence.fps:.2f}".encode())
    for points_TJC, steps in ((sequence.keypoints_3d_TJC, 1000), (sequence.keypoints_2d_TJC, 10)):
        if points_TJC is None:
            digest.update(b"none")
        else:
            relative_TJC = (points_TJC - points_TJC[:, :1]).astype(np.float64)
            digest.update(np.round(relative_TJC * steps).astype("<i8").tobytes())
    digest.update((sequence.confidence_TJ > 0).tobytes())
    return digest.hexdigest()


def _basics(sequence: MotionSequence, limits: CheckLimits) -> Iterator[Problem]:
    low, high = limits.fps
    if not low < sequence.fps < high:
        yield Problem("frame rate", f"between {low:g} and {high:g} Hz", f"{sequence.fps:g}")
    parts = {
        "keypoints_3d": sequence.keypoints_3d_TJC,
        "keypoints_2d": sequence.keypoints_2d_TJC,
        "confidence": sequence.confidence_TJ,
    }
    for name, values in parts.items():
        if values is not None and not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            yield Problem(name, "finite numbers", f"others, first in frame {bad}")
    if sequence.keypoints_3d_TJC is None and sequence.keypoints_2d_TJC is None:
        yield Problem("keypoints", "3D or 2D positions", "neither")
    yield from _confidence(sequence.confidence_TJ)
    least = 1 if sequence.keypoints_3d_TJC is None else limits.min_frames_3d
    if sequence.num_frames < least:
        yield Problem("length", f"at least {least} frames", f"{sequence.num_frames}")


def _confidence(confidence_TJ: Float[np.ndarray, "T J"]) -> Iterator[Problem]:
    if confidence_TJ.size and (confidence_TJ.min() < 0 or confidence_TJ.max() > 1):
        yield Problem("confidence", "0 to 1", f"{confidence_TJ.min():g} to {confidence_TJ.max():g}")
    if not (confidence_TJ > 0).any():
        yield Problem("confidence", "some joint observed in some frame", "none")


def _limbs(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], limits: CheckLimits
) -> Iterator[Problem]:
    for start, end in LIMBS:
        length_S = _lengths(points_TJ3, seen_TJ, start, end)
        if length_S.size == 0:
            continue
        low, middle, high = np.quantile(length_S, (0.05, 0.5, 0.95))
        if max(high - middle, middle - low) > limits.limb_change * middle:
            expected = f"a constant length, within {limits.limb_change:.0%}"
            yield Problem(f"bone {start} to {end}", expected, f"{low:.3f} to {high:.3f} m")


def _height(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], limits: CheckLimits
) -> Iterator[Problem]:
    pairs = [pair for chain in HEIGHT_CHAINS for pair in itertools.pairwise(chain)]
    lengths = [_lengths(points_TJ3, seen_TJ, start, end) for start, end in pairs]
    if any(length_S.size == 0 for length_S in lengths):
        return
    height = sum(float(np.median(length_S)) for length_S in lengths)
    low, high = limits.height_m
    if not low <= height <= high:
        yield Problem("leg and spine together", f"{low:g} to {high:g} m", f"{height:.3g} m (is the unit right?)")


def _speed(
    root_T3: Float[np.ndarray, "T 3"], seen_T: Bool[np.ndarray, "T"], fps: float, limits: CheckLimits
) -> Iterator[Problem]:
    speed_T = np.linalg.norm(np.diff(root_T3, axis=0), axis=-1) * fps * (seen_T[1:] & seen_T[:-1])
    fastest = int(speed_T.argmax())
    if speed_T[fastest] > limits.root_speed_m_s:
        expected = f"a root slower than {limits.root_speed_m_s:g} m/s"
        yield Problem(f"frame {fastest + 1}", expected, f"{speed_T[fastest]:.1f} m/s")


def _lengths(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], start: str, end: str
) -> Float[np.ndarray, "S"]:
    """Length of a bone in the frames in which both of its ends are observed."""
    a, b = H36M17.index(start), H36M17.index(end)
    length_T = np.linalg.norm(points_TJ3[:, a] - points_TJ3[:, b], axis=-1)
    return length_T[seen_TJ[:, a] & seen_TJ[:, b]]
