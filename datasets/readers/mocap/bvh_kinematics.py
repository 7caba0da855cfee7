"""Joint positions of BVH files by forward kinematics, and corrections of their bone lengths.

Shapes: T frames, N nodes (joints and end sites), K channels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from datasets.joints.kinematics import BLOCK, along, cosine_and_sine, turned, unturned
from datasets.readers.mocap.bvh_file import Bvh, Hierarchy
from motion_encoder.shapes import Float


def node_positions(hierarchy: Hierarchy, motion_TK: Float[np.ndarray, "T K"]) -> Float[np.ndarray, "T N 3"]:
    """Return the world position of every node, in the file's unit and axes, by forward kinematics."""
    positions_TN3 = np.empty((len(motion_TK), len(hierarchy.names), 3))
    for start in range(0, len(motion_TK), BLOCK):
        block = slice(start, start + BLOCK)
        for node, position_3T in enumerate(_positions(hierarchy, np.ascontiguousarray(motion_TK[block].T))):
            positions_TN3[block, node] = position_3T.T
    return positions_TN3


def with_measured_bones(bvh: Bvh) -> tuple[Bvh, tuple[str, ...]]:
    """Return the file with offsets taken from its position channels, and a description of what was repaired.

    Position channels replace a joint's offset, so files that have them on all joints may state no offsets at all. Some
    tools write such channels with zeros only: then the offsets are used.
    """
    hierarchy = bvh.hierarchy
    offsets_N3, motion_TK = hierarchy.offsets_N3.copy(), bvh.motion_TK
    columns = _position_columns(hierarchy)
    is_empty = bool(columns) and hierarchy.offsets_N3[1:].any() and not motion_TK[:, list(columns)].any()
    if is_empty:
        motion_TK = motion_TK.copy()
    for k, (node, axis) in columns.items():
        if is_empty:
            motion_TK[:, k] = offsets_N3[node, axis]
        else:
            offsets_N3[node, axis] = np.median(motion_TK[:, k])
    repairs = ("position channels of the joints are all 0: offsets taken instead",) if is_empty else ()
    return replace(bvh, hierarchy=replace(hierarchy, offsets_N3=offsets_N3), motion_TK=motion_TK), repairs


def with_left_out_bones(bvh: Bvh, left_out: Mapping[str, str]) -> tuple[Bvh, tuple[str, ...]]:
    """Move joints at their parent's position to the end of the bone that the rig left out, and describe the repair.

    Args:
        bvh: The file; its offsets agree with its position channels (``with_measured_bones``).
        left_out: The joints to move, each with the joint whose offset is used instead.
    """
    hierarchy = bvh.hierarchy
    moved = {hierarchy.names.index(joint): hierarchy.names.index(stand_in) for joint, stand_in in left_out.items()}
    moved = {node: stand_in for node, stand_in in moved.items() if not hierarchy.offsets_N3[node].any()}
    if not moved:
        return bvh, ()
    offsets_N3, motion_TK = hierarchy.offsets_N3.copy(), bvh.motion_TK.copy()
    for node, stand_in in moved.items():
        offsets_N3[node] = hierarchy.offsets_N3[stand_in]
    for k, (node, axis) in _position_columns(hierarchy).items():
        if node in moved:
            motion_TK[:, k] += offsets_N3[node, axis]
    said = f"thorax bone restored below {', '.join(hierarchy.names[node] for node in moved)}"
    return replace(bvh, hierarchy=replace(hierarchy, offsets_N3=offsets_N3), motion_TK=motion_TK), (said,)


def _position_columns(hierarchy: Hierarchy) -> dict[int, tuple[int, int]]:
    """Column of the motion to node and axis, for the position channels of all nodes but the roots."""
    flat = [(node, channel) for node, channels in enumerate(hierarchy.channels) for channel in channels]
    return {
        k: (node, "XYZ".index(channel[0]))
        for k, (node, channel) in enumerate(flat)
        if channel.endswith("position") and hierarchy.parents[node] >= 0
    }


def _positions(hierarchy: Hierarchy, motion_KT: Float[np.ndarray, "K T"]) -> Iterator[Float[np.ndarray, "3 T"]]:
    """Walk down the tree: a node is a step along its parent's axes, and rotates them for its children."""
    cosine_KT, sine_KT = cosine_and_sine(motion_KT)
    last_child = {parent: node for node, parent in enumerate(hierarchy.parents)}
    done = {-1: (unturned(motion_KT.shape[1]), np.zeros((3, motion_KT.shape[1])))}
    k = 0
    for node, (parent, channels) in enumerate(zip(hierarchy.parents, hierarchy.channels, strict=True)):
        outer, origin_3T = done[parent]
        step: list[float | Float[np.ndarray, "T"]] = hierarchy.offsets_N3[node].tolist()
        axes = outer
        for channel in channels:
            if channel.endswith("rotation"):
                axes = turned(axes, channel[0], cosine_KT[k], sine_KT[k])
            else:
                step["XYZ".index(channel[0])] = motion_KT[k]
            k += 1
        position_3T = origin_3T + along(outer, step)
        yield position_3T
        if node in last_child:
            done[node] = axes, position_3T
        if last_child[parent] == node:  # memory that is reused immediately is still in the cache
            del done[parent]
