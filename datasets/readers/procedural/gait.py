"""Walking and running: gait as a function of time, along a curved path.

A foot is rigid and planted at its ball from contact to toe-off; the heel lifts about the ball, which moves the ankle up
and forward before the foot leaves the ground. In walking, stance is 62 % of the stride, so both feet are on the ground
for a quarter of it, and the pelvis moves over straight legs (an inverted pendulum); in running, stance is about 35 %,
and the body is in free fall between the steps. Figures are from Perry and Burnfield, "Gait Analysis"; Novacheck, "The
biomechanics of running" (Gait and Posture 7, 1998).

Phase 0 is the left foot's contact, 1 the next one; the right foot is half a stride later. Shapes: T frames.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator

from datasets.readers.procedural.body import Body, Pose
from motion_encoder.shapes import Float

GRAVITY = 9.81


@dataclass(frozen=True, kw_only=True)
class Gait:
    """Parameters of a person's walking or running. Angles in degrees."""

    speed: float
    """Speed along the path, in m/s."""
    stride: float
    """Metres from one contact of a foot to the next."""
    duty: float
    """Share of the stride for which a foot is on the ground; below 0.5 there is a flight phase."""
    ahead: float
    """Distance of the landing ankle in front of the root, as a share of the stride."""
    width: float
    """Metres between the middle and the feet."""
    curvature: float
    """Curvature of the path to the left, in degrees per metre."""
    start: float
    """Phase of the gait at time 0."""
    lean: float
    arm_swing: float
    elbow: float
    elbow_swing: float
    pelvis_turn: float
    chest_turn: float


# How a foot moves from toe-off (0) to its next contact (1): share of the distance that the ball has covered, heel
# pitch in degrees, lift of the ball in statures. A walker's foot swings low, a runner's with the heel high; chosen
# so that knee and thigh angles are close to the published normal curves. (First row: phase.)
_SWING_WALKING = (
    (0, 0.15, 0.32, 0.5, 0.8, 0.92, 1),
    (0, 0.14, 0.30, 0.56, 0.94, 0.99, 1),
    (76, 66, 44, 20, 2, 0, 0),
    (0, 0.012, 0.03, 0.012, 0.006, 0.006, 0),
)
_SWING_RUNNING = (
    (0, 0.2, 0.45, 0.6, 0.8, 0.95, 1),
    (0, 0.10, 0.37, 0.55, 0.84, 1, 1),
    (79, 62, 45, 29, 12, 4, 0),
    (0, 0.06, 0.13, 0.09, 0.012, 0.01, 0),
)


def sample_walking(body: Body, person: np.random.Generator, take: np.random.Generator) -> Gait:
    """Draw a walk: 1.0 to 1.7 m/s at the stature of 1.75 m, longer steps when faster."""
    size = body.leg / 0.86
    speed = person.uniform(1.15, 1.5) * take.uniform(0.88, 1.12) * np.sqrt(size)
    return Gait(
        speed=speed,
        stride=1.36 * size * (speed / 1.35) ** 0.45 * person.uniform(0.95, 1.05),
        duty=0.62,
        ahead=0.19,
        width=0.045 * size,
        curvature=take.uniform(-0.3, 0.3),
        start=take.uniform(0, 1),
        lean=person.uniform(1, 5),
        arm_swing=person.uniform(16, 30),
        elbow=person.uniform(15, 28),
        elbow_swing=person.uniform(6, 14),
        pelvis_turn=person.uniform(4, 7),
        chest_turn=person.uniform(4, 8),
    )


def sample_running(body: Body, person: np.random.Generator, take: np.random.Generator) -> Gait:
    """Draw a run: 2.2 to 4 m/s, 155 to 180 steps a minute."""
    size = body.leg / 0.86
    speed = person.uniform(2.6, 3.5) * take.uniform(0.9, 1.1) * np.sqrt(size)
    return Gait(
        speed=speed,
        stride=speed * 0.72 * np.sqrt(size) * person.uniform(0.95, 1.05),
        duty=0.36 - 0.02 * (speed - 3),
        ahead=0.105,
        width=0.03 * size,
        curvature=take.uniform(-0.15, 0.15),
        start=take.uniform(0, 1),
        lean=person.uniform(7, 13),
        arm_swing=person.uniform(32, 46),
        elbow=person.uniform(82, 100),
        elbow_swing=person.uniform(8, 18),
        pelvis_turn=person.uniform(6, 10),
        chest_turn=person.uniform(8, 14),
    )


def gait_pose(body: Body, gait: Gait, time_T: Float[np.ndarray, "T"]) -> Pose:
    """Return the body's poses along its path at the given times in seconds."""
    phase_T = gait.start + time_T * gait.speed / gait.stride
    travel_T = time_T * gait.speed
    cycle_T, quarter_T = np.cos(2 * np.pi * phase_T), np.sin(2 * np.pi * phase_T)
    none_T = np.zeros_like(time_T)

    place_T3, heading_T = _path(gait, travel_T, 0.35 * gait.width * quarter_T)
    height_T = _height(body, gait, phase_T)
    list_T = 3 * quarter_T
    return Pose(
        root_T3=place_T3 + height_T[:, None] * np.array([0.0, 1.0, 0.0]),
        heading_T=np.rad2deg(heading_T),
        pelvis_T3=np.stack([none_T + gait.lean, -gait.pelvis_turn * cycle_T, list_T], axis=-1),
        chest_T3=np.stack([none_T + gait.lean, gait.chest_turn * cycle_T, -list_T / 3], axis=-1),
        head_T3=np.stack([none_T + gait.lean / 3, none_T, none_T], axis=-1),
        left_arm_T4=_arm(gait, -cycle_T),
        right_arm_T4=_arm(gait, cycle_T),
        left_ankle_T3=_ankle(body, gait, phase_T, left=True),
        right_ankle_T3=_ankle(body, gait, phase_T, left=False),
        toe_out=5.0,
    )


def _path(gait: Gait, travel_T: np.ndarray, aside_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position on the ground after ``travel`` metres of the arc, shifted ``aside`` to the left, and the heading."""
    heading_T = gait.curvature * travel_T
    half_chord_T = np.sinc(heading_T / 2 / np.pi)
    x_T = travel_T * half_chord_T * np.sin(heading_T / 2) + aside_T * np.cos(heading_T)
    z_T = travel_T * half_chord_T * np.cos(heading_T / 2) - aside_T * np.sin(heading_T)
    return np.stack([x_T, np.zeros_like(x_T), z_T], axis=-1), heading_T


def _arm(gait: Gait, forward_T: np.ndarray) -> np.ndarray:
    swing_T = gait.arm_swing * forward_T - 0.1 * gait.arm_swing
    elbow_T = gait.elbow + gait.elbow_swing * forward_T
    inward_T = -0.15 * gait.elbow - 5 * forward_T
    return np.stack([swing_T, np.full_like(swing_T, 9.0), inward_T, elbow_T], axis=-1)


def _height(body: Body, gait: Gait, phase_T: np.ndarray) -> np.ndarray:
    """Height of the root: at the most extended moment of the stride a leg is nearly straight."""
    stride_N = np.linspace(0, 1, 65)
    straight = replace(gait, curvature=0.0, start=0.0)
    ankle_N3 = _ankle(body, straight, stride_N, left=True)
    behind_N = ankle_N3[:, 2] - stride_N * gait.stride
    reach_N = ankle_N3[:, 1] + np.sqrt((0.99 * body.leg) ** 2 - behind_N**2)
    bob = _walking_bob if gait.duty > 0.5 else _running_bob
    return bob(body, gait, phase_T) + (reach_N - bob(body, gait, stride_N)).min()


def _walking_bob(body: Body, gait: Gait, phase_T: np.ndarray) -> np.ndarray:
    """Vertical motion of walking: up over the planted leg, down between the steps, by the leg's angle at contact."""
    amplitude = 0.006 * gait.stride**2 / body.leg
    return amplitude * np.cos(4 * np.pi * (phase_T - 0.25))


def _running_bob(body: Body, gait: Gait, phase_T: np.ndarray) -> np.ndarray:
    """Vertical motion of running: a parabola in flight, and in stance a spring that reverses the speed."""
    seconds = gait.stride / gait.speed
    up = GRAVITY * (0.5 - gait.duty) * seconds / 2
    bounce = CubicHermiteSpline(np.array([0, gait.duty, 0.5]) * seconds, [0, 0, 0], [-up, up, -up])
    return bounce(phase_T % 0.5 * seconds)


def _ankle(body: Body, gait: Gait, phase_T: np.ndarray, *, left: bool) -> np.ndarray:
    """One ankle: planted at the ball of the foot, heel lifting, then through the air to the next plant."""
    own_T = phase_T + (0 if left else 0.5)
    stride_T = np.floor(own_T)
    done_T, pitch_T, lift_T = _foot(gait)(own_T - stride_T).T

    plant_T3, heading_T = _plant(body, gait, stride_T, left=left)
    next_T3, next_heading_T = _plant(body, gait, stride_T + 1, left=left)
    ball_T3 = plant_T3 + done_T[:, None] * (next_T3 - plant_T3)
    yaw_T = heading_T + done_T * (next_heading_T - heading_T)
    pitch_T = np.deg2rad(pitch_T)
    back_T = body.foot * np.cos(pitch_T) - body.ankle * np.sin(pitch_T)
    up_T = body.foot * np.sin(pitch_T) + body.ankle * np.cos(pitch_T) + body.stature * lift_T
    return ball_T3 + np.stack([-back_T * np.sin(yaw_T), up_T, -back_T * np.cos(yaw_T)], axis=-1)


def _foot(gait: Gait) -> PchipInterpolator:
    """(share of the distance, heel pitch, lift) over the foot's own phase: flat, heel-off in mid-stance, swing."""
    share, *swing = _SWING_WALKING if gait.duty > 0.5 else _SWING_RUNNING
    flat, rising, raised = (0.47, 0.82, 0.33) if gait.duty > 0.5 else (0.18, 0.9, 0.55)
    times = [0, flat * gait.duty, rising * gait.duty, *(gait.duty + (1 - gait.duty) * np.array(share))]
    stance = ((0, 0, 0), (0, 0, raised * swing[1][0]), (0, 0, 0))
    return PchipInterpolator(times, np.hstack([stance, swing]).T)


def _plant(body: Body, gait: Gait, stride_T: np.ndarray, *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Position and heading of the planted ball of the foot."""
    contact_T = (stride_T - (0 if left else 0.5) - gait.start) * gait.stride
    ahead = gait.ahead * gait.stride + body.foot
    return _path(gait, contact_T + ahead, np.full_like(contact_T, gait.width if left else -gait.width))
