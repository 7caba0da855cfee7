"""Checks that a sequence must pass to enter the store; others go to the quarantine table with the reason.

A sequence passes, is repaired (``repairs`` says how), or is quarantined with its reasons.

The bounds are wide on purpose: they catch broken files and wrong units, not unusual people. All 325 public motion
capture recordings that this was developed with pass unrepaired; a file in centimetres read as metres, or with another
subject's skeleton file, does not. All bounds and their reasons are in ``limits.py``.

Shapes: T frames, J = 17 joints.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.joints.sides import knee_cosines
from datasets.quality import exchanged_sides
from datasets.quality.limits import CheckLimits
from datasets.quality.repairs import find_box_jumps, find_exchanged_frames, find_joint_jumps, outside, repaired, sizes
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

LIMBS = tuple(
    (side + start, side + end)
    for side in "lr"
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
"""Bones that no rig divides; only their length must not change."""
SPINE = ("root", "belly", "neck", "nose", "head")
"""Joints of the spine, which together with a leg is about 0.96 of a person's stature."""


@dataclass(frozen=True)
class Problem:
    """A bound that a sequence breaks."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A sequence after repairs, and every bound that it still breaks."""

    sequence: MotionSequence
    """The sequence, unchanged or repaired; ``repairs`` says how."""
    problems: tuple[Problem, ...]

    def error(self) -> RecordingError:
        """Return the error for a sequence with problems; it names the first one."""
        first = self.problems[0]
        return RecordingError(
            f"{self.sequence.source}/{self.sequence.sequence_id}",
            where=first.where,
            expected=first.expected,
            found=first.found,
            fix="Look at the recording; the bounds and their reasons are in datasets/quality/limits.py.",
        )


def judge(sequence: MotionSequence, limits: CheckLimits | None = None) -> Verdict:
    """Repair a sequence where that is possible, and find every bound that it breaks."""
    limits = limits or CheckLimits()
    if basic := tuple(_basics(sequence, limits)):  # repairs rely on valid numbers
        return Verdict(sequence=sequence, problems=basic)
    fixed, _ = repaired(sequence, limits)
    return Verdict(sequence=fixed, problems=tuple(find_problems(fixed, limits)))


def check(sequence: MotionSequence, limits: CheckLimits | None = None) -> MotionSequence:
    """Return the sequence, unchanged or repaired.

    Raises:
        RecordingError: The sequence breaks a bound and cannot be repaired; the message names the first one.
    """
    verdict = judge(sequence, limits)
    if verdict.problems:
        raise verdict.error()
    return verdict.sequence


def find_problems(sequence: MotionSequence, limits: CheckLimits | None = None) -> Iterator[Problem]:
    """Yield each bound that is broken, the basic ones first; later checks rely on the earlier ones."""
    limits = limits or CheckLimits()
    basic = list(_basics(sequence, limits))
    yield from basic
    if basic:
        return
    seen_TJ = sequence.confidence_TJ > 0
    if sequence.keypoints_3d_TJC is not None:
        yield from _limbs(sequence.keypoints_3d_TJC, seen_TJ, limits.limb_change_of(sequence.source.kind))
        yield from _size(sequence.keypoints_3d_TJC, seen_TJ, limits)
        yield from _speed(sequence.keypoints_3d_TJC[:, 0], seen_TJ[:, 0], sequence.fps, limits)
        yield from _knees(sequence.keypoints_3d_TJC, seen_TJ, limits)
    if sequence.keypoints_2d_TJC is not None:
        yield from _pixels(sequence.keypoints_2d_TJC, seen_TJ, sequence.image_size, limits)
    if sequence.num_frames > 1:
        yield from _jumps(sequence, limits)


def _basics(sequence: MotionSequence, limits: CheckLimits) -> Iterator[Problem]:
    low, high = limits.fps
    if not low < sequence.fps < high:
        yield Problem("frame rate", f"between {low:g} and {high:g} Hz", f"{sequence.fps:g}")
    parts = {
        "keypoints_3d": (sequence.keypoints_3d_TJC, limits.farthest_m),
        "keypoints_2d": (sequence.keypoints_2d_TJC, limits.farthest_px),
        "confidence": (sequence.confidence_TJ, np.inf),  # see _confidence
    }
    for name, (values, farthest) in parts.items():
        if values is not None and not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            yield Problem(name, "finite numbers", f"others, first in frame {bad}")
        elif values is not None and np.abs(values).max(initial=0) > farthest:
            yield Problem(name, f"coordinates within {farthest:g}", f"{np.abs(values).max():g}")
    if sequence.keypoints_3d_TJC is None and sequence.keypoints_2d_TJC is None:
        yield Problem("keypoints", "3D or 2D positions", "neither")
    yield from _confidence(sequence.confidence_TJ)
    if sequence.image_size is not None and not all(0 < side <= limits.image_side_px for side in sequence.image_size):
        yield Problem("image size", f"1 to {limits.image_side_px:,} pixels a side", f"{sequence.image_size}")
    least = 1 if sequence.keypoints_3d_TJC is None else limits.min_frames_3d
    if sequence.num_frames < least:
        yield Problem("length", f"at least {least} frames", f"{sequence.num_frames}")


def _confidence(confidence_TJ: Float[np.ndarray, "T J"]) -> Iterator[Problem]:
    if confidence_TJ.size and (confidence_TJ.min() < 0 or confidence_TJ.max() > 1):
        yield Problem("confidence", "0 to 1", f"{confidence_TJ.min():g} to {confidence_TJ.max():g}")
    if not (confidence_TJ > 0).any():
        yield Problem("confidence", "some joint observed in some frame", "none")


def _limbs(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], change: float
) -> Iterator[Problem]:
    for start, end in LIMBS:
        length_S = _lengths(points_TJ3, seen_TJ, start, end)
        if length_S.size == 0:
            continue
        low, middle, high = np.quantile(length_S, (0.05, 0.5, 0.95))
        if max(high - middle, middle - low) > change * middle:
            expected = f"a constant length, within {change:.0%}"
            yield Problem(f"bone {start} to {end}", expected, f"{low:.3f} to {high:.3f} m")


def _size(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], limits: CheckLimits
) -> Iterator[Problem]:
    """Check that each fully observed part of the body has human size; finds wrong units and animals."""
    spine = _chain(points_TJ3, seen_TJ, SPINE)
    legs, arms = (
        [
            length
            for side in "rl"
            if (length := _chain(points_TJ3, seen_TJ, [side + joint for joint in limb])) is not None
        ]
        for limb in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
    )
    parts = (
        ("leg and spine together", [leg + spine for leg in legs] if spine is not None else [], limits.height_m),
        ("leg", legs, limits.leg_m),
        ("arm", arms, limits.arm_m),
    )
    for name, lengths, (low, high) in parts:
        wrong = [length for length in lengths if not low <= length <= high]
        if wrong:
            yield Problem(name, f"{low:g} to {high:g} m", f"{wrong[0]:.3g} m (is the unit right? is it a person?)")


def _chain(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], joints: Sequence[str]
) -> float | None:
    """Total length of the bones from joint to joint; None if one of them is never observed."""
    lengths = [_lengths(points_TJ3, seen_TJ, start, end) for start, end in itertools.pairwise(joints)]
    if any(length_S.size == 0 for length_S in lengths):
        return None
    return sum(float(np.median(length_S)) for length_S in lengths)


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
    """Lengths of a bone in the frames in which both of its ends are observed."""
    a, b = H36M17.index(start), H36M17.index(end)
    length_T = np.linalg.norm(points_TJ3[:, a] - points_TJ3[:, b], axis=-1)
    return length_T[seen_TJ[:, a] & seen_TJ[:, b]]


def _knees(
    points_TJ3: Float[np.ndarray, "T J 3"], seen_TJ: Bool[np.ndarray, "T J"], limits: CheckLimits
) -> Iterator[Problem]:
    bent_S = knee_cosines(points_TJ3, seen_TJ, limits.bent_knee_deg)
    if len(bent_S) >= max(1, limits.bent_share * 2 * len(points_TJ3)) and bent_S.mean() < limits.backward_knees:
        found = f"to the back in {len(bent_S)} frames (are left and right exchanged, or the axes left-handed?)"
        yield Problem("knees", "knees that bend to the front", found)


def _pixels(
    points_TJ2: Float[np.ndarray, "T J 2"],
    seen_TJ: Bool[np.ndarray, "T J"],
    image_size: tuple[int, int] | None,
    limits: CheckLimits,
) -> Iterator[Problem]:
    size_T = sizes(points_TJ2, seen_TJ)[seen_TJ.sum(axis=-1) >= 5]
    if size_T.size and np.median(size_T) < limits.size_px:
        expected = f"pixels: people larger than {limits.size_px:g}"
        yield Problem("size in the image", expected, f"{np.median(size_T):.3g}")
    outside_TJ = outside(points_TJ2, seen_TJ, image_size, limits)
    if outside_TJ.any():
        share = outside_TJ.sum() / seen_TJ.sum()
        yield Problem("image", f"points in or near its {image_size} pixels", f"{share:.0%} of them far outside")


def _jumps(sequence: MotionSequence, limits: CheckLimits) -> Iterator[Problem]:
    """Jumps that remain after the repairs: they split a sequence into parts, and no part has nearly all frames."""
    jump_TJ = find_joint_jumps(sequence, limits)
    for joint in np.flatnonzero(jump_TJ.any(axis=0)):
        frame = int(np.flatnonzero(jump_TJ[:, joint])[0])
        found = f"a jump in frame {frame}, and no jump back"
        yield Problem(H36M17.joints[joint], "no joint that teleports", found)
    if (jump_T := find_box_jumps(sequence, limits)).any():
        found = f"another place in frame {int(np.flatnonzero(jump_T)[0])}"
        yield Problem("box", f"a person slower than {limits.box_speed:g} sizes a second", found)
    for limb in exchanged_sides.LIMB_JOINTS:
        if (wrong_T := find_exchanged_frames(sequence, limb, limits)).any():
            yield Problem(limb, "left and right that are not exchanged", exchanged_sides.describe_exchange(wrong_T))
