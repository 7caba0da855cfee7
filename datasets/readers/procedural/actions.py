"""Actions on the spot: key poses of each action, interpolated over time.

An action is a short table of key poses of a right-handed person, as an animator would draw them. They are interpolated
by a monotone cubic, so a foot that is on the ground in two neighbouring keys does not move between them. Repetitions
differ in length, people in ``tempo`` and ``vigour``, and standing people sway a little.

Angles in degrees, offsets in statures (left, up, forward), key times as shares of one repetition. Shapes: T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from datasets.readers.procedural.body import Person, Pose
from motion_encoder.shapes import Float, Int

Number = int | float
Triple = tuple[Number, Number, Number]
Arm = tuple[Number, Number, Number, Number]
"""(swing, spread, turn outward, elbow), as in ``Pose``."""

_NONE: Triple = (0, 0, 0)
_HANGING: Arm = (3, 9, -12, 16)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A pose at one moment of an action; the defaults are relaxed standing."""

    at: Number
    root: Triple = _NONE
    pelvis: Triple = _NONE
    chest: Triple = _NONE
    head: Triple = _NONE
    left_arm: Arm = _HANGING
    right_arm: Arm = _HANGING
    left_foot: Triple = _NONE
    right_foot: Triple = _NONE


_CHANNELS = ("root", "pelvis", "chest", "head", "left_arm", "right_arm", "left_foot", "right_foot")


@dataclass(frozen=True, kw_only=True)
class Action:
    """One repetition of an action, and the positions of its feet."""

    seconds: Number
    keys: tuple[Key, ...]
    feet_apart: float = 0.055
    """Distance from the middle to a foot, in statures, like the next field."""
    left_foot_ahead: Number = 0
    toe_out: Number = 8
    any_start: bool = True
    """Whether a take may begin in the middle of a repetition."""


def _hold(key: Key, *times: Number) -> tuple[Key, ...]:
    return tuple(replace(key, at=at) for at in times)


STAND = Key(at=0)
_WAVE = Key(
    at=0,
    root=(0.012, -0.002, 0),
    chest=(-2, 0, -4),
    head=(-3, 0, 3),
    right_arm=(12, 94, 84, 76),
    left_arm=(0, 8, -10, 18),
)
WAVING = Action(seconds=4.2, keys=(STAND, *_hold(_WAVE, 0.16, 0.84), *_hold(STAND, 1)))

_SQUAT = Key(
    at=0,
    root=(0, -0.27, -0.10),
    pelvis=(26, 0, 0),
    chest=(38, 0, 0),
    head=(4, 0, 0),
    left_arm=(122, 8, 0, 10),
    right_arm=(122, 8, 0, 10),
)
SQUATTING = Action(
    seconds=2.8, feet_apart=0.085, toe_out=24, keys=(STAND, *_hold(_SQUAT, 0.42, 0.5), *_hold(STAND, 0.9, 1))
)

_HANDS_ON_THIGHS: Arm = (20, 10, -14, 52)
_SEATED = Key(
    at=0,
    root=(0, -0.225, -0.225),
    pelvis=(-4, 0, 0),
    chest=(-3, 0, 0),
    left_arm=_HANDS_ON_THIGHS,
    right_arm=_HANDS_ON_THIGHS,
)
_HALF_SEATED = Key(
    at=0,
    root=(0, -0.135, -0.15),
    pelvis=(34, 0, 0),
    chest=(42, 0, 0),
    head=(14, 0, 0),
    left_arm=(48, 10, -8, 26),
    right_arm=(48, 10, -8, 26),
)
SITTING_DOWN = Action(
    seconds=7.5,
    any_start=False,
    keys=(
        *_hold(STAND, 0, 0.08),
        *_hold(_HALF_SEATED, 0.19),
        *_hold(_SEATED, 0.30, 0.78),
        *_hold(_HALF_SEATED, 0.87),
        *_hold(STAND, 0.96, 1),
    ),
)

KICKING = Action(
    seconds=2.5,
    keys=(
        STAND,
        Key(at=0.12, root=(0.045, -0.012, 0), chest=(3, 0, 0)),
        Key(  # backswing: heel up behind, opposite arm forward
            at=0.34,
            root=(0.052, -0.02, 0.01),
            pelvis=(8, -14, 0),
            chest=(10, 14, -4),
            left_arm=(45, 35, 0, 30),
            right_arm=(-32, 22, 0, 25),
            right_foot=(0, 0.21, -0.27),
        ),
        Key(
            at=0.45,
            root=(0.052, -0.018, 0.03),
            pelvis=(-4, 4, 0),
            chest=(4, -6, -4),
            left_arm=(30, 40, 0, 25),
            right_arm=(-10, 25, 0, 25),
            right_foot=(0.01, 0.05, 0.14),
        ),
        Key(  # follow-through: leg straight in front, body leaning back
            at=0.54,
            root=(0.052, -0.014, 0.035),
            pelvis=(-18, 12, 0),
            chest=(-12, -20, -4),
            left_arm=(62, 45, 0, 18),
            right_arm=(-40, 28, 0, 18),
            right_foot=(0.02, 0.33, 0.50),
        ),
        Key(
            at=0.70,
            root=(0.05, -0.014, 0.015),
            pelvis=(-6, 4, 0),
            left_arm=(20, 25, 0, 22),
            right_arm=(-10, 20, 0, 22),
            right_foot=(0, 0.17, 0.16),
        ),
        Key(at=0.86, root=(0.03, -0.01, 0)),
        *_hold(STAND, 1),
    ),
)

THROWING = Action(
    seconds=2.9,
    feet_apart=0.06,
    left_foot_ahead=0.06,
    toe_out=14,
    keys=(
        STAND,
        Key(  # both hands at the ball before the chest
            at=0.20, root=(0, -0.01, -0.01), chest=(6, -10, 0), left_arm=(32, 6, -38, 98), right_arm=(28, 8, -38, 102)
        ),
        Key(  # wind-up: side on, weight back, arm cocked, front foot off the ground
            at=0.42,
            root=(-0.02, -0.025, -0.055),
            pelvis=(-4, -42, 0),
            chest=(-8, -68, 4),
            left_arm=(22, 78, 0, 20),
            right_arm=(-12, 84, 62, 95),
            left_foot=(0, 0.05, 0.05),
        ),
        Key(
            at=0.52,
            root=(0, -0.04, 0.02),
            pelvis=(0, -12, 0),
            chest=(-8, -48, 0),
            left_arm=(40, 60, 0, 40),
            right_arm=(-6, 92, 96, 92),
            left_foot=(0, 0, 0.13),
        ),
        Key(  # release
            at=0.60,
            root=(0.01, -0.045, 0.06),
            pelvis=(10, 8, 0),
            chest=(16, 12, -8),
            left_arm=(10, 25, -20, 85),
            right_arm=(62, 96, 62, 22),
            left_foot=(0, 0, 0.13),
            right_foot=(0, 0.015, 0.01),
        ),
        Key(  # follow-through: down across the body
            at=0.71,
            root=(0.015, -0.06, 0.075),
            pelvis=(20, 22, 0),
            chest=(36, 38, -4),
            head=(10, 0, 0),
            left_arm=(-10, 25, -15, 70),
            right_arm=(62, -8, 0, 14),
            left_foot=(0, 0, 0.13),
            right_foot=(0, 0.035, 0.025),
        ),
        Key(at=0.84, root=(0.01, -0.03, 0.05), chest=(12, 10, 0), right_arm=(25, 2, -10, 25), left_foot=(0, 0, 0.13)),
        Key(at=0.92, root=(-0.01, -0.015, 0.02), chest=(5, 4, 0), left_foot=(0, 0.03, 0.06)),
        *_hold(STAND, 1),
    ),
)


def act(action: Action, person: Person, rng: np.random.Generator, time_T: Float[np.ndarray, "T"]) -> Pose:
    """Return the poses of an action repeated for the whole time."""
    _, phase_T = repetitions(rng, time_T, action.seconds / person.tempo, any_start=action.any_start)
    return pose_of(action, person, play(action.keys, phase_T, person.vigour), rng, time_T)


def wave(person: Person, rng: np.random.Generator, time_T: Float[np.ndarray, "T"]) -> Pose:
    """Return the poses of waving: raise a hand, swing the forearm from side to side, lower it."""
    _, phase_T = repetitions(rng, time_T, WAVING.seconds / person.tempo)
    channels = play(WAVING.keys, phase_T, person.vigour)
    raised_T = PchipInterpolator((0, 0.12, 0.2, 0.8, 0.88, 1), (0, 0, 1, 1, 0, 0))(phase_T)
    stroke_T = raised_T * np.sin(2 * np.pi * 1.7 * person.tempo * time_T)
    higher = rng.uniform(-5, 30)
    channels["right_arm"] += raised_T[:, None] * (0, higher, -8, 0) + stroke_T[:, None] * (0, 4, 0, 27)
    return pose_of(WAVING, person, channels, rng, time_T)


def repetitions(
    rng: np.random.Generator,
    time_T: Float[np.ndarray, "T"],
    seconds: Number,
    *,
    any_start: bool = True,
    jitter: float = 0.08,
) -> tuple[Int[np.ndarray, "T"], Float[np.ndarray, "T"]]:
    """Return the repetition at each moment, and the phase in it, in [0, 1)."""
    begun = rng.uniform(0, 1 if any_start else 0.05)
    # Own generator: the number of draws depends on the duration, and must not affect other random numbers.
    durations = seconds * rng.spawn(1)[0].uniform(1 - jitter, 1 + jitter, int(time_T[-1] / seconds * 1.5) + 3)
    ends = np.cumsum(durations)
    shifted_T = time_T + begun * durations[0]
    index_T = np.searchsorted(ends, shifted_T, side="right")
    return index_T, 1 - (ends[index_T] - shifted_T) / durations[index_T]


def play(keys: Sequence[Key], phase_T: Float[np.ndarray, "T"], vigour: float) -> dict[str, np.ndarray]:
    """Interpolate the keys to channels [T, 3 or 4]; ``vigour`` scales their difference from standing."""
    # The first and last pose are held beyond the ends, so that repetitions join smoothly.
    keys = (replace(keys[0], at=-0.1), *keys, replace(keys[-1], at=1.1))
    times = [key.at for key in keys]
    channels = {}
    for channel in _CHANNELS:
        values = np.array([getattr(key, channel) for key in keys], dtype=float)
        stand = np.array(getattr(STAND, channel))
        channels[channel] = PchipInterpolator(times, stand + vigour * (values - stand))(phase_T)
    return channels


def pose_of(
    action: Action,
    person: Person,
    channels: dict[str, np.ndarray],
    rng: np.random.Generator,
    time_T: Float[np.ndarray, "T"],
) -> Pose:
    """Scale the channels to the body, put the feet at the action's positions, and let the body sway."""
    body, none_T = person.body, np.zeros_like(time_T)
    # Feet apart lower the hips.
    stand_y = body.standing - 0.2 * action.left_foot_ahead**2 * body.stature
    feet = np.array([action.feet_apart, 0, action.left_foot_ahead])
    sole = np.array([0, body.ankle, 0])
    sway_T3 = _drift(rng, time_T, 3) * (0.006, 0, 0.005)
    return Pose(
        root_T3=body.stature * (channels["root"] + sway_T3) + (0, stand_y, 0),
        heading_T=none_T,
        pelvis_T3=channels["pelvis"] + _drift(rng, time_T, 3),
        chest_T3=channels["chest"] + 1.5 * _drift(rng, time_T, 3),
        head_T3=channels["head"] + _drift(rng, time_T, 3) * (3, 7, 2),
        left_arm_T4=channels["left_arm"] + 2.5 * _drift(rng, time_T, 4),
        right_arm_T4=channels["right_arm"] + 2.5 * _drift(rng, time_T, 4),
        left_ankle_T3=body.stature * (channels["left_foot"] + feet) + sole,
        right_ankle_T3=body.stature * (channels["right_foot"] + feet * (-1, 1, -1)) + sole,
        toe_out=action.toe_out,
    )


def _drift(rng: np.random.Generator, time_T: np.ndarray, channels: int) -> np.ndarray:
    """Slow random drift within [-1, 1], [T, channels]: three waves of 2 to 10 seconds."""
    rate_3C, start_3C = rng.uniform(0.1, 0.45, (3, channels)), rng.uniform(0, 1, (3, channels))
    waves_T3C = np.sin(2 * np.pi * (rate_3C * time_T[:, None, None] + start_3C))
    return waves_T3C.mean(axis=1)
