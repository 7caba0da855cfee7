"""Which axis points up, told by the body in motion where the file says nothing, or what cannot be true.

Three witnesses, in the axes of the file:

- the posture: where the trunk points, from root to neck;
- the floor: along the true up axis the lowest joint of a person stays at one height near zero, wherever they go;
  along another axis it moves with the person, or lies anywhere;
- what the format, the file or the rest pose says.

People lie down, so the posture alone decides nothing while there is a floor: it overrules the usual axis with the help
of the floor, or of a rest pose that agrees.

Measured on 475 real recordings (CMU, HDM05, UI-PRMD; 20 of them lie down, many bend over), four times each with another
heading and place: with Y up none of 1,900 is turned; made Z up, on a rest pose that stands along Y as SMPL's does, 96 %
are found, and the others, which stand in one place that may be a floor along Y too, are kept and said to be uncertain.

Shapes: T frames, J = 17 joints, N frames in which the trunk is seen.
"""

from dataclasses import dataclass

import numpy as np

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17

AXES = tuple(sign + axis for axis in "XYZ" for sign in "+-")
OFTEN, ALWAYS = 0.1, 0.95
"""Shares of the frames in which the trunk points along an axis: of one that may be up, and of people who stand."""
FLOOR_M = (-0.1, 0.3)
"""Median height of the lowest joint above a floor at zero; in the recordings above 0.02 to 0.25, hopping aside."""
SINKS_M = 0.2
"""How far the lowest joint goes below its median on a floor, 19 frames of 20; under 0.15 in 19 of 20 recordings."""
TRAVELS_M = 0.3
STEADIER = 3
"""Along an axis along which the lowest joint goes so far, and so many times farther than along another, is no floor."""
SWAYS_M = 0.05
"""A body that moves less says nothing against its rest pose, nor does a lowest joint against another axis."""
CENTRED_M = 0.001
"""A root that stays so near to the origin, in a body that moves, is the origin: where the floor was is lost."""


@dataclass(frozen=True, kw_only=True)
class Up:
    """The axis that points up, such as ``+Z``, and why."""

    axis: str
    reason: str = ""
    """How the body overruled the usual axis, in words; empty where it did not, or something else agreed with it."""
    rival: str = ""
    """The axis along which people stand, where it is another one and no floor decided."""


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What speaks for one axis."""

    share: float
    """Of the frames in which the trunk points along it."""
    spread_m: float
    """How far the lowest joint moves along it, from its 5th to its 95th percentile."""
    sinks_m: float
    """The part of it below the median."""
    has_floor: bool


def axis_vector(axis: str) -> Float[np.ndarray, "3"]:
    """Return the unit vector of an axis such as ``-X``."""
    return np.where(np.array(list("XYZ")) == axis[1], float(f"{axis[0]}1"), 0.0)


def main_axis(direction_3: Float[np.ndarray, "3"]) -> str:
    """Return the axis that a direction is nearest to."""
    k = int(np.abs(direction_3).argmax())
    return ("-" if direction_3[k] < 0 else "+") + "XYZ"[k]


def trunk_axis(points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"]) -> str:
    """Return the axis along which the trunk points on the whole; empty where it is never seen."""
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
        usual: The axis that is up unless the body says otherwise: the file states it, or the format has it so.
        agreeing: An axis that something else speaks for, such as the rest pose.
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
    """Whether the floor speaks for an axis and against the usual one."""
    only_floor = new.has_floor and not usual.has_floor
    if not is_posture:
        return only_floor and usual.spread_m > max(TRAVELS_M, STEADIER * new.spread_m)
    if usual.sinks_m > max(TRAVELS_M, STEADIER * new.spread_m):
        return True
    if new.share >= ALWAYS:
        return only_floor or usual.spread_m > max(SWAYS_M, 2 * new.spread_m)
    return only_floor and usual.spread_m > new.spread_m


def _trunk(points_TJ3: Float[np.ndarray, "T 17 3"], seen_TJ: Bool[np.ndarray, "T 17"]) -> Float[np.ndarray, "N 3"]:
    """From root to neck where both are seen; for a body without a neck, from the ankles to the root."""
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
    """The lowest joint's height along each of the six axes, in the frames in which some joint is seen."""
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
