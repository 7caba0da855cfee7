"""Forward kinematics for file formats that store joint angles: BVH and ASF/AMC.

Everything is vectorised over frames; the only loop is over the joints of the skeleton, parents first.

Shapes: T frames, N joints of the file's own skeleton. Matrices act on column vectors.
"""

from collections.abc import Sequence

import numpy as np

from motion_encoder.shapes import Float


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
