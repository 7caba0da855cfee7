"""Forward kinematics for file formats that store joint angles: BVH, ASF/AMC, Kinect, body models.

Everything is vectorised over frames; the only loop is over the joints of the skeleton, parents first. There are two
forms:

- Rotation matrices, [..., 3, 3], frames first: the general form.
- Axes: the three columns of a rotation matrix, [3, T] each, frames last. A rotation about one axis only mixes the other
  two, and the values of one axis are contiguous in memory: eight times as fast. Callers cut long recordings into blocks
  of ``BLOCK`` frames, which fit into the processor's cache.

Shapes: T frames, N joints of the file's own skeleton. Matrices act on column vectors.
"""

from collections.abc import Sequence

import numpy as np

from motion_encoder.shapes import Float

BLOCK = 512
"""Frames; with 40 joints their axes are 1 MB."""

Axes = tuple[Float[np.ndarray, "3 T"], Float[np.ndarray, "3 T"], Float[np.ndarray, "3 T"]]
"""Directions of a joint's X, Y and Z axes in the world, over time."""


def axis_rotation(axis: str, angle_deg: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any 3 3"]:
    """Return right-handed rotations about one axis (``X``, ``Y`` or ``Z``)."""
    angle = np.deg2rad(angle_deg)
    k = "XYZ".index(axis)
    i, j = (k + 1) % 3, (k + 2) % 3
    rotation = np.zeros((*np.shape(angle), 3, 3))
    rotation[..., k, k] = 1
    rotation[..., i, i] = rotation[..., j, j] = np.cos(angle)
    rotation[..., j, i] = np.sin(angle)
    rotation[..., i, j] = -rotation[..., j, i]
    return rotation


def euler_rotation(axes: str, angles_deg: Float[np.ndarray, "*any A"]) -> Float[np.ndarray, "*any 3 3"]:
    """Return the product of axis rotations in the order of ``axes``, left to right: ``"ZYX"`` is Rz · Ry · Rx."""
    rotation = np.broadcast_to(np.eye(3), (*angles_deg.shape[:-1], 3, 3))
    for position, axis in enumerate(axes):
        rotation = rotation @ axis_rotation(axis, np.asarray(angles_deg[..., position]))
    return rotation


def world_rotations(parents: Sequence[int], local_TN33: Float[np.ndarray, "T N 3 3"]) -> Float[np.ndarray, "T N 3 3"]:
    """Multiply local rotations down the tree; ``parents`` lists parents before their children, -1 for a root."""
    world_TN33 = np.empty_like(local_TN33)
    for joint, parent in enumerate(parents):
        local_T33 = local_TN33[:, joint]
        world_TN33[:, joint] = local_T33 if parent < 0 else world_TN33[:, parent] @ local_T33
    return world_TN33


def world_positions(parents: Sequence[int], step_TN3: Float[np.ndarray, "T N 3"]) -> Float[np.ndarray, "T N 3"]:
    """Add up the steps from parent to child, given in world axes, down the tree."""
    world_TN3 = step_TN3.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            world_TN3[:, joint] += world_TN3[:, parent]
    return world_TN3


def rotation_to_y_up(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Return the proper rotation that turns the axis direction ``up`` (a signed unit vector) to +Y by the short way."""
    y = np.array([0.0, 1.0, 0.0])
    if up @ y == 1:
        return np.eye(3)
    if up @ y == -1:
        return np.diag([1.0, -1.0, -1.0])
    fixed = np.cross(up, y)
    return np.outer(y, up) - np.outer(up, y) + np.outer(fixed, fixed)


def unturned(num_frames: int) -> Axes:
    """Return the axes of the world itself."""
    x_3T, y_3T, z_3T = np.repeat(np.eye(3)[..., None], num_frames, axis=-1)
    return x_3T, y_3T, z_3T


def cosine_and_sine(
    angle_deg: Float[np.ndarray, "*any"],
) -> tuple[Float[np.ndarray, "*any"], Float[np.ndarray, "*any"]]:
    """Return both, computed from the tangent of half the angle, exact to 4e-16 like NumPy's own functions.

    On processors with AVX-512, NumPy has vectorised code for the tangent but not for the cosine and the sine of
    float64: this is five times as fast there, and as fast elsewhere.
    """
    sine = np.tan(angle_deg * (np.pi / 360))
    cosine = 2 / (1 + sine * sine)
    sine *= cosine
    cosine -= 1
    return cosine, sine


def turned(axes: Axes, axis: str, cosine_T: Float[np.ndarray, "T"], sine_T: Float[np.ndarray, "T"]) -> Axes:
    """Return the axes rotated about one of them, ``X``, ``Y`` or ``Z``: R · R_axis(angle) as matrices."""
    k = "XYZ".index(axis)
    i, j = (k + 1) % 3, (k + 2) % 3
    new = list(axes)
    new[i] = axes[i] * cosine_T + axes[j] * sine_T
    new[j] = axes[j] * cosine_T - axes[i] * sine_T
    return new[0], new[1], new[2]


def along(axes: Axes, step: Sequence[float | Float[np.ndarray, "T"]]) -> Float[np.ndarray, "3 T"]:
    """Return a step along the axes in world coordinates: R · step. Each of its three components is a number or [T]."""
    world_3T = axes[0] * step[0]
    world_3T += axes[1] * step[1]
    world_3T += axes[2] * step[2]
    return world_3T


def rotated(axes: Axes, rotation_33: Float[np.ndarray, "3 3"]) -> Axes:
    """Return the axes rotated by the same rotation in all frames: R · rotation."""
    x_3, y_3, z_3 = rotation_33.T.tolist()
    return along(axes, x_3), along(axes, y_3), along(axes, z_3)
