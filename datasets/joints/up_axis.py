"""Finds the up axis from the body in motion, for files that do not state it or state it wrongly.

There are three kinds of evidence, in the axes of the file:

- the posture: the direction of the trunk, from root to neck;
- the floor: along the true up axis the lowest joint of a person stays at one height near zero; along another axis it
  moves with the person, or has any height;
- what the format, the file or the rest pose states.

People lie down, so the posture overrules the usual axis only if the floor or the rest pose agrees.

Measured on 475 real recordings (CMU, HDM05, UI-PRMD; in 20 of them people lie down, in many they bend over), four times
each with another heading and position. With Y up none of the 1,900 is rotated. With Z up and a rest pose along Y, as in
SMPL, 96 % are rotated; the others also have a plausible floor along Y, so +Y is kept and the doubt is reported.

Shapes: T frames, J = 17 joints, N frames in which the trunk is seen.
"""

from dataclasses import dataclass

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

AXES = tuple(sign + axis for axis in "XYZ" for sign in "+-")
OFTEN, ALWAYS = 0.1, 0.95
"""Shares of the frames in which the trunk points along an axis: from the first it may be up, from the second people
stand along it."""
FLOOR_M = (-0.1, 0.3)
"""Median height of the lowest joint above a floor at zero; 0.02 to 0.25 in the recordings above, except for hopping."""
SINKS_M = 0.2
"""How far the lowest joint goes below its median on a floor in 95 % of frames; under 0.15 in 95 % of recordings."""
TRAVELS_M = 0.3
STEADIER = 3
"""An axis has no floor if the lowest joint moves ``TRAVELS_M`` along it, and ``STEADIER`` times as far as along another
axis."""
SWAYS_M = 0.05
"""Smallest motion of a body, or of its lowest joint, that counts as evidence."""
CENTRED_M = 0.001
"""If the root of a moving body stays this close to the origin, positions are relative to it: the floor is unknown."""


@dataclass(frozen=True, kw_only=True)
class Up:
    """The axis that points up, such as ``+Z``, and why."""

    axis: str
    reason: str = ""
    """Why the usual axis was overruled by the motion only; empty if it was kept, or if a rest pose agreed."""
    rival: str = ""
    """The axis along which people stand, if it is another one and the floor does not decide."""


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The evidence for one axis."""

    share: float
    """Share of the frames in which the trunk points along it."""
    spread_m: float
    """How far the lowest joint moves along it, from its 5th to its 95th percentile."""
    sinks_m: float
    """How far the lowest joint goes below its median height, at its 5th percentile."""
    has_floor: bool


def axis_vector(axis: str) -> Float[np.ndarray, "3"]:
    """Return the unit vector of an axis such as ``-X``."""
    return np.where(np.array(list("XYZ")) == axis[1], float(f"{axis[0]}1"), 0.0)


def main_axis(direction_3: Float[np.ndarray, "3"]) -> str:
    """Return the axis that a direction is nearest to."""
    k = int(np.abs(direction_3).argmax())
    return ("-" if direction_3[k] < 0 else "+") + "XYZ"[k]


def trunk_axis(points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"]) -> str:
    """Return the axis nearest to the mean direction of the trunk; empty if the trunk is never seen."""
    return _main_axis_of(_trunk(points_TJ3, seen_TJ))


def find_up(
    points_TJ3: Float[np.ndarray, "T 17 3"],
    seen_TJ: Bool[np.ndarray, "T 17"],
    *,
    usual: str,
    agreeing: str = "",
) -> Up:
    """Return the axis that points up.

    Args:
        points_TJ3: Metres, in the axes of the file.
        seen_TJ: Which joints are known in which frame.
        usual: The up axis by default: as the file states it, or as is usual in the format.
        agreeing: The axis that other evidence supports, such as the rest pose; empty if there is none.
    """
    trunk_N3 = _trunk(points_TJ3, seen_TJ)
    posture, shares = _main_axis_of(trunk_N3), _shares(trunk_N3)
    candidates = [axis for axis in sorted(AXES, key=lambda axis: -shares[axis]) if shares[axis] >= OFTEN]
    if not posture or not set(candidates) - {usual}:
        return Up(axis=usual)
    moves_J3 = np.ptp(points_TJ3, axis=0)
    is_centred = seen_TJ[:, 0].all() and np.abs(points_TJ3[:, 0]).max() < CENTRED_M and moves_J3.max() > SWAYS_M
    lowest_AT = _lowest(points_TJ3, seen_TJ)
    found = {
        axis: _evidence(low_T, shares[axis], is_centred=bool(is_centred))
        for axis, low_T in zip(AXES, lowest_AT, strict=True)
    }
    is_refuted = found[usual].has_floor and not found[posture].has_floor and moves_J3.max() > SWAYS_M
    if posture != usual and not is_refuted:
        if posture == agreeing:
            return Up(axis=posture)
        if shares[posture] >= ALWAYS and (is_centred or posture[1] == usual[1]):
            return Up(axis=posture, reason="people stand along it in all frames")
    for axis in candidates:
        if axis != usual and _overrules(found[axis], found[usual], is_posture=axis == posture):
            return Up(axis=axis, reason="people stand along it, on a steady floor")
    is_certain = posture == usual or (found[usual].has_floor and not found[posture].has_floor)
    return Up(axis=usual, rival="" if is_certain else posture)


def _overrules(new: _Evidence, usual: _Evidence, *, is_posture: bool) -> bool:
    """Whether the floor supports an axis and contradicts the usual one."""
    only_floor = new.has_floor and not usual.has_floor
    if not is_posture:
        return only_floor and usual.spread_m > max(TRAVELS_M, STEADIER * new.spread_m)
    if usual.sinks_m > max(TRAVELS_M, STEADIER * new.spread_m):
        return True
    if new.share >= ALWAYS:
        return only_floor or usual.spread_m > max(SWAYS_M, 2 * new.spread_m)
    return only_floor and usual.spread_m > new.spread_m


def _trunk(points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"]) -> Float[np.ndarray, "N 3"]:
    """From root to neck in frames that show both; for a body without a neck, from the ankles to the root."""
    root, neck, *ankles = (H36M17.index(joint) for joint in ("root", "neck", "lankle", "rankle"))
    if seen_TJ[:, neck].any():
        return (points_TJ3[:, neck] - points_TJ3[:, root])[seen_TJ[:, [root, neck]].all(axis=1)]
    return (points_TJ3[:, root] - points_TJ3[:, ankles].mean(axis=1))[seen_TJ[:, [root, *ankles]].all(axis=1)]


def _main_axis_of(trunk_N3: Float[np.ndarray, "N 3"]) -> str:
    return main_axis(trunk_N3.mean(axis=0)) if trunk_N3.any() else ""


def _shares(trunk_N3: Float[np.ndarray, "N 3"]) -> dict[str, float]:
    """Share of the frames in which the trunk is nearest to each axis."""
    k_N = np.abs(trunk_N3).argmax(axis=1)
    is_negative_N = trunk_N3[np.arange(len(trunk_N3)), k_N] < 0
    counts = np.bincount(2 * k_N + is_negative_N, minlength=len(AXES))
    return dict(zip(AXES, (counts / max(len(trunk_N3), 1)).tolist(), strict=True))


def _lowest(points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"]) -> Float[np.ndarray, "6 N"]:
    """The lowest joint's height along each of the six axes, in the frames that show some joint."""
    shown_T = seen_TJ.any(axis=1)
    points_NJ3, seen_NJ1 = points_TJ3[shown_T], seen_TJ[shown_T, :, None]
    along_N3 = np.where(seen_NJ1, points_NJ3, np.inf).min(axis=1)
    against_N3 = -np.where(seen_NJ1, points_NJ3, -np.inf).max(axis=1)
    return np.stack([along_N3, against_N3], axis=-1).reshape(len(points_NJ3), -1).T


def _evidence(lowest_N: Float[np.ndarray, "N"], share: float, *, is_centred: bool) -> _Evidence:
    low, middle, high = np.quantile(lowest_N, (0.05, 0.5, 0.95)).tolist()
    return _Evidence(
        share=share,
        spread_m=high - low,
        sinks_m=middle - low,
        has_floor=not is_centred and middle - low < SINKS_M and FLOOR_M[0] < middle < FLOOR_M[1],
    )
