"""Finds the unit of a body from the size of people, for files that do not state one.

Metres, inches, centimetres and millimetres differ by factors of 2.5 and more, the statures of people by 1.8 at most, so
at most one unit is plausible.

Shapes: J = 17 joints.
"""

from collections.abc import Collection, Mapping

import numpy as np

from datasets.sequences import RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17

UNITS_M: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
PLAUSIBLE_STATURE_M = (1.2, 2.2)
ASSUMED_STATURE_M = 1.7
SPINE = ("root", "belly", "neck", "nose", "head")
CHAIN_PER_STATURE = 0.96
"""Leg plus spine over stature: hip height .530 less ankle height .039, plus the .470 above the hip (Drillis and
Contini, "Body segment parameters", 1966)."""
LEG_PER_STATURE = 0.491
"""Hip to ankle over stature, from the same source; used for rigs that lack a joint of the spine."""
ARM_PER_STATURE = 0.332
"""Shoulder to wrist over stature, .186 + .146, from the same source; used for rigs without legs."""


def unit_by_proportions(
    rest_J3: Float[np.ndarray, "17 3"], joints: Collection[str], path: str, *, usual_m: float | None = None
) -> tuple[float, tuple[str, ...]]:
    """Return metres per unit of the file, and a description of what was assumed.

    Args:
        rest_J3: The body in the file's unit, in any pose.
        joints: The joints of it that are known.
        path: For messages.
        usual_m: The usual unit of such files; used, and not reported as assumed, if it gives a plausible stature.

    Raises:
        RecordingError: There is neither a complete leg nor a complete arm to measure, or it has no length.
    """
    stature = _stature(rest_J3, joints)
    if stature is None or not stature > 0:
        raise RecordingError(
            path,
            where="unit",
            expected="hip, knee and ankle, or shoulder, elbow and wrist, whose distances tell the unit",
            found=", ".join(sorted(joints)) if stature is None else "all of them at one point: no bone has a length",
            fix='State it in a joint_map.json beside the recordings: {"unit_m": 0.01} for centimetres (docs/data.md).',
        )
    low, high = PLAUSIBLE_STATURE_M
    if usual_m is not None and low <= stature * usual_m <= high:
        return usual_m, ()
    for name, unit_m in UNITS_M.items():
        if low <= stature * unit_m <= high:
            return unit_m, (f"unit not stated: {name} by human proportions",)
    unit_m = ASSUMED_STATURE_M / stature
    return unit_m, (f"unit unknown: scaled by {unit_m:.5f} to a stature of {ASSUMED_STATURE_M} m",)


def _stature(rest_J3: Float[np.ndarray, "17 3"], joints: Collection[str]) -> float | None:
    """By leg and spine if both are complete, else by a leg, else by an arm; None if no limb is complete."""
    known = set(joints)
    legs = [chain for side in "rl" if known.issuperset(chain := _chain(side, "hip", "knee", "ankle"))]
    arms = [chain for side in "rl" if known.issuperset(chain := _chain(side, "shoulder", "elbow", "wrist"))]
    if legs and known.issuperset(SPINE):
        return _length(rest_J3, legs[0], SPINE) / CHAIN_PER_STATURE
    if legs:
        return _length(rest_J3, legs[0]) / LEG_PER_STATURE
    return _length(rest_J3, arms[0]) / ARM_PER_STATURE if arms else None


def _chain(side: str, *joints: str) -> tuple[str, ...]:
    return tuple(side + joint for joint in joints)


def _length(rest_J3: Float[np.ndarray, "17 3"], *chains: tuple[str, ...]) -> float:
    points = [rest_J3[[H36M17.index(joint) for joint in chain]] for chain in chains]
    return float(sum(np.linalg.norm(np.diff(chain_N3, axis=0), axis=-1).sum() for chain_N3 in points))
