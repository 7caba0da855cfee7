"""Jumping: the height is computed from gravity, the limbs from key poses.

The phases are crouch, push-off, flight, landing, absorption and standing up. Between these events, root and soles
follow cubics with given positions and speeds; if both ends of a cubic are consistent with free flight, it is the
parabola.

Times in seconds, lengths in metres. Shapes: T frames.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from datasets.readers.procedural.actions import STAND, Action, Key, play, pose_of, repetitions
from datasets.readers.procedural.body import Person, Pose
from datasets.readers.procedural.gait import GRAVITY
from motion_encoder.shapes import Float


@dataclass(frozen=True, kw_only=True)
class Jump:
    """One jump. ``speed`` is the forward speed in flight, ``take_off`` the upward speed."""

    take_off: float
    speed: float
    depth: float
    """Depth of the crouch before and after the jump."""
    heel: float
    """Rise of the heels in the push-off."""
    crouch: float
    recover: float
    rest: float

    @property
    def push(self) -> float:
        """Time from the bottom of the crouch to take-off at constant acceleration; landing takes as long."""
        return 2 * (self.depth + self.heel) / self.take_off

    @property
    def flight(self) -> float:
        """Time from take-off to landing, which are at the same height."""
        return 2 * self.take_off / GRAVITY

    @property
    def reach(self) -> float:
        """Forward distance of the jump."""
        return self.speed * (self.push + self.flight)

    @property
    def events(self) -> Float[np.ndarray, "7"]:
        """Times of start, bottom, take-off, landing, bottom, upright again and end."""
        return np.cumsum([0, self.crouch, self.push, self.flight, self.push, self.recover, self.rest])


_STANCE = Action(seconds=0, keys=(), toe_out=10)
_CROUCH = Key(
    at=0,
    root=(0, 0, -0.07),
    pelvis=(26, 0, 0),
    chest=(38, 0, 0),
    head=(4, 0, 0),
    left_arm=(-12, 10, 0, 18),
    right_arm=(-12, 10, 0, 18),
)
_BACKSWING = replace(_CROUCH, root=(0, 0, -0.055), left_arm=(-50, 12, 0, 10), right_arm=(-50, 12, 0, 10))
_TAKE_OFF = Key(at=0, chest=(2, 0, 0), head=(-10, 0, 0), left_arm=(112, 12, 0, 24), right_arm=(112, 12, 0, 24))
_ALOFT = replace(_TAKE_OFF, head=(-6, 0, 0), left_arm=(150, 16, 0, 14), right_arm=(150, 16, 0, 14))
_LANDING = Key(at=0, chest=(12, 0, 0), pelvis=(6, 0, 0), left_arm=(75, 20, 0, 20), right_arm=(75, 20, 0, 20))
_ABSORB = replace(_CROUCH, chest=(34, 0, 0), left_arm=(20, 16, 0, 25), right_arm=(20, 16, 0, 25))


def sample_jump(person: Person, rng: np.random.Generator) -> Jump:
    """Draw a jump of 18 to 36 cm; half of them go forward."""
    body = person.body
    crouch, recover, rest = np.array([0.5, 0.6, 0.35]) / person.tempo
    return Jump(
        take_off=float(np.sqrt(2 * GRAVITY * rng.uniform(0.2, 0.34) * person.vigour)),
        speed=rng.uniform(0.3, 0.9) if rng.random() < 0.5 else 0.0,
        depth=0.13 * body.stature * person.vigour,
        heel=0.9 * body.foot,
        crouch=crouch,
        recover=recover,
        rest=rest,
    )


def jump(person: Person, rng: np.random.Generator, time_T: Float[np.ndarray, "T"]) -> Pose:
    """Return the poses of repeated jumps."""
    plan = sample_jump(person, rng)
    seconds = plan.events[-1]
    index_T, phase_T = repetitions(rng, time_T, seconds, jitter=0.0)
    standing = pose_of(_STANCE, person, play(_keys(plan), phase_T, person.vigour), rng, time_T)

    root_T3 = _root(plan, person.body.leg, phase_T * seconds)
    sole_T3 = _sole(plan, 0.06 * person.body.stature, phase_T * seconds)
    along_T3 = (plan.reach * index_T)[:, None] * (0, 0, 1)
    return replace(
        standing,
        root_T3=standing.root_T3 + root_T3 + along_T3,
        left_ankle_T3=standing.left_ankle_T3 + sole_T3 + along_T3,
        right_ankle_T3=standing.right_ankle_T3 + sole_T3 + along_T3,
    )


def _keys(plan: Jump) -> list[Key]:
    start, bottom, off, on, absorbed, upright, end = plan.events
    moments = {
        start: STAND,
        0.65 * bottom: _BACKSWING,
        bottom: _CROUCH,
        off: _TAKE_OFF,
        off + 0.4 * (on - off): _ALOFT,
        on: _LANDING,
        absorbed: _ABSORB,
        upright: STAND,
        end: STAND,
    }
    return [replace(key, at=moment / end) for moment, key in moments.items()]


def _root(plan: Jump, leg: float, clock_T: np.ndarray) -> np.ndarray:
    """Offset of the root from its position in standing."""
    up, ahead, lag = plan.take_off, plan.speed, plan.speed * plan.push / 2
    # At take-off and landing a straight leg is inclined, so the root is lower.
    top = plan.heel - lag**2 / leg
    heights = (0, -plan.depth, top, top, -plan.depth, 0, 0)
    places = (0, 0, lag, plan.reach - lag, plan.reach, plan.reach, plan.reach)
    y_T = CubicHermiteSpline(plan.events, heights, (0, 0, up, -up, 0, 0, 0))(clock_T)
    z_T = CubicHermiteSpline(plan.events, places, (0, 0, ahead, ahead, 0, 0, 0))(clock_T)
    return np.stack([np.zeros_like(y_T), y_T, z_T], axis=-1)


def _sole(plan: Jump, tuck: float, clock_T: np.ndarray) -> np.ndarray:
    """Offset of both ankles: heels lift at the end of the push, then the feet move with the body, slightly drawn up."""
    _, _, off, on, *_, end = plan.events
    roll = 2 * plan.heel / plan.take_off
    moments = (0, off - roll, off, on, on + roll, end)
    heights = (0, 0, plan.heel, plan.heel, 0, 0)
    y_T = CubicHermiteSpline(moments, heights, (0, 0, plan.take_off, -plan.take_off, 0, 0))(clock_T)
    aloft_T = ((clock_T - off) / plan.flight).clip(0, 1)
    y_T += tuck * np.sin(np.pi * aloft_T) ** 2
    return np.stack([np.zeros_like(y_T), y_T, plan.reach * aloft_T**2 * (3 - 2 * aloft_T)], axis=-1)
