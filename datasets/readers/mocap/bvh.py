"""BVH: joint angles of any rig, whose joints are identified by tables, name rules or a ``joint_map.json``.

The conventions: a node's world rotation is its parent's times its own channels in the order they are written, left to
right; position channels replace the node's offset (most tools write them so); angles are degrees. Properties that a
file does not state are found from its names and its body: the rig (``rigs.py``, ``rig_rules.py``), the unit
(``units.py``), the up axis (``up_axis.py``) and poses that a converter inserted before the motion
(``inserted_poses.py``); every guess is listed in ``repairs``. A body with left and right exchanged is rejected
(``sides.py``). Joints that a rig lacks are absent. The conversions of CMU's database state 120 Hz for all trials, even
for those recorded at 60 Hz (cmu_rates.py). A file is recognised by its suffix, or by its first words, HIERARCHY and
ROOT. One CPU core converts about 80,000 frames a second to joint positions.

Shapes: T frames, N nodes (joints and end sites), K channels, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.cmu_rates import find_known_rate
from datasets.assembly.path_rules import BVH, CMU, FAIR, identify
from datasets.assembly.text_head import text_head
from datasets.files import read_bytes
from datasets.joints import inserted_poses, joint_map
from datasets.joints.inserted_poses import is_t_pose, jumps_away
from datasets.joints.kinematics import rotation_to_y_up, world_positions
from datasets.joints.rig_rules import rig_by_rules
from datasets.joints.rigs import Rig, find_known_rig
from datasets.joints.units import unit_by_proportions
from datasets.joints.up_axis import Up, axis_vector, find_up, trunk_axis
from datasets.readers.mocap.bvh_file import Bvh, Hierarchy, damaged, parse_bvh
from datasets.readers.mocap.bvh_kinematics import node_positions, with_left_out_bones, with_measured_bones
from datasets.readers.mocap.bvh_sides import check_sides, foot_directions
from datasets.sequences import File, MotionSequence, Recording
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17, Conversion

SOURCES = (BVH, CMU, FAIR)
RATES_HZ = (*range(1, 501), *(n * 1000 / 1001 for n in (24, 30, 60, 120, 240)))
RATE_TOLERANCE = 0.0015
"""Frame times are written with as few as three digits: .0333 is 30 Hz, .008342 is 120/1.001 Hz."""
CONVERTERS_HZ = 120.0
"""The rate that the conversions of CMU's database state for every file."""
MOST_INSERTED = 3
"""Largest number of different poses that are dropped; converters of CMU's database insert up to two."""
MOST_LOOKED_AT = 1000
"""Number of frames that are searched for inserted poses."""
_FIRST_WORDS = re.compile(rb"(?:(?:#|//|;)[^\n]*\n\s*)*HIERARCHY\s+ROOT\s", re.IGNORECASE)


class BvhReader:
    """Reads BVH files of any rig; a ``joint_map.json`` in the folder, or in one above, is a companion."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.bvh``, and files that begin like one; the nearest joint map, if any, is a companion."""
        files = list(files)
        maps = [file.path for file in files if PurePosixPath(file.path).name == joint_map.NAME]
        return [
            Recording(
                path=file.path,
                reader=self.name,
                source=identify(file.path, "bvh").source,
                companions=joint_map.nearest_map(file.path, maps),
                size=file.size,
            )
            for file in files
            if file.path.lower().endswith(".bvh") or _FIRST_WORDS.match(text_head(file))
        ]

    def companions_of(self, path: str, files: Iterable[File]) -> tuple[str, ...]:
        """Return the nearest joint map of a file, if there is one."""
        maps = [file.path for file in files if PurePosixPath(file.path).name == joint_map.NAME]
        return joint_map.nearest_map(path, maps)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a file."""
        path = recording.path
        bvh, position_repairs = with_measured_bones(parse_bvh(read_bytes(path), path))
        rig = _rig(bvh.hierarchy, recording)
        bvh, bone_repairs = with_left_out_bones(bvh, rig.left_out)
        hierarchy = bvh.hierarchy
        identity = identify(path, "bvh")
        fps, rate_repairs = _rate(bvh, identity.subject)
        [rest_N3] = world_positions(hierarchy.parents, hierarchy.offsets_N3[None])
        [rest_J3] = _to_h36m17(rest_N3[None], hierarchy, rig)
        metres, unit_repairs = _unit(rest_J3, rig, path)
        positions_TN3 = node_positions(hierarchy, bvh.motion_TK)
        positions_TJ3 = _to_h36m17(positions_TN3, hierarchy, rig)
        first, frame_repairs = _first_captured(bvh, metres * positions_TJ3[:MOST_LOOKED_AT], rig, fps)
        positions_TN3, positions_TJ3 = positions_TN3[first:], positions_TJ3[first:]
        check_sides(positions_TJ3, foot_directions(positions_TN3, rest_N3, hierarchy, rig), rig, path)
        rotation_33, axis_repairs = _up(metres * positions_TJ3, rest_J3, rig)
        yield MotionSequence(
            source=recording.source,
            sequence_id=identity.sequence_id,
            subject=identity.subject,
            action=identity.action,
            label=identity.label,
            fps=fps,
            keypoints_3d_TJC=(metres * positions_TJ3 @ rotation_33.T).astype(np.float32),
            confidence_TJ=np.tile(_known(rig), (len(positions_TJ3), 1)).astype(np.float32),
            repairs=(
                *rate_repairs,
                *frame_repairs,
                *position_repairs,
                *bone_repairs,
                *rig.guesses,
                *unit_repairs,
                *axis_repairs,
            ),
        )


READER = BvhReader()


def frame_rate(frame_time_s: float) -> float:
    """Return the rate for a rounded frame time: the nearest usual rate within 0.15 %, otherwise the inverse."""
    rate = 1 / frame_time_s
    usual = min(RATES_HZ, key=lambda candidate: abs(candidate - rate))
    return float(usual) if abs(usual - rate) <= RATE_TOLERANCE * rate else rate


def _rate(bvh: Bvh, subject: str) -> tuple[float, tuple[str, ...]]:
    """The rate that the file states, unless the converter wrote it and it is known to be wrong."""
    stated, known = frame_rate(bvh.frame_time_s), find_known_rate(subject)
    if known is None or stated != CONVERTERS_HZ:
        return stated, ()
    return known, (f"frame rate {known:g} Hz, as is known of this subject, not the converter's {stated:g} Hz",)


def _rig(hierarchy: Hierarchy, recording: Recording) -> Rig:
    """The rig by the user's map, the tables or the rules, in this order; with the map's unit and up axis, if any."""
    said = joint_map.read_map(recording.companions[0]) if recording.companions else None
    if said and said.joints:
        rig = Rig(name=joint_map.NAME, table=said.table(hierarchy.names, recording.path))
    else:
        rig = find_known_rig(hierarchy.names) or rig_by_rules(
            hierarchy.names, hierarchy.parents, hierarchy.offsets_N3, recording.path
        )
    rig = _without_empty_ends(rig, hierarchy)
    used = [name for names in rig.table.values() for name in ([names] if isinstance(names, str) else names)]
    if twice := sorted({name for name in used if hierarchy.names.count(name) > 1}):
        raise damaged(recording.path, "joint names", "each name once (one person per file)", f"{twice} several times")
    return replace(rig, unit_m=said.unit_m, up=said.up) if said else rig


def _without_empty_ends(rig: Rig, hierarchy: Hierarchy) -> Rig:
    """Leave out joints that are end sites without an offset: the file does not state where their bone ends."""
    offsets = zip(hierarchy.names, hierarchy.offsets_N3, strict=True)
    bare_ends = {name for name, offset_3 in offsets if "/end" in name and not offset_3.any()}
    empty = [joint for joint, name in rig.table.items() if isinstance(name, str) and name in bare_ends]
    if not empty:
        return rig
    table = {joint: names for joint, names in rig.table.items() if joint not in empty}
    said = f"end sites without an offset left out: {', '.join(empty)}"
    return replace(rig, table=table, guesses=(*rig.guesses, said))


def _known(rig: Rig) -> Bool[np.ndarray, "17"]:
    return np.isin(H36M17.joints, list(rig.table))


def _to_h36m17(
    positions_TN3: Float[np.ndarray, "T N 3"], hierarchy: Hierarchy, rig: Rig
) -> Float[np.ndarray, "T 17 3"]:
    return Conversion(source_joints=hierarchy.names, target=H36M17, table=rig.table).positions(positions_TN3)


def _unit(rest_J3: Float[np.ndarray, "17 3"], rig: Rig, path: str) -> tuple[float, tuple[str, ...]]:
    if rig.unit_m is not None:
        return rig.unit_m, ()
    return unit_by_proportions(rest_J3, rig.table, path, usual_m=rig.usual_unit_m)


def _first_captured(
    bvh: Bvh, points_TJ3: Float[np.ndarray, "T 17 3"], rig: Rig, fps: float
) -> tuple[int, tuple[str, ...]]:
    """The first frame after the poses that a converter inserted, each of which may be repeated.

    ``points_TJ3`` are the first frames, in metres.
    """
    first, held = 0, 0
    for _ in range(MOST_INSERTED):
        held = _end_of_pose(bvh.motion_TK[: len(points_TJ3)], held)
        if held == len(points_TJ3):
            break
        window_TJ3 = points_TJ3[held - 1 : held + inserted_poses.AFTER]
        if not (_is_rest(bvh.motion_TK[held - 1], bvh.hierarchy) or is_t_pose(window_TJ3[0], rig.table)):
            break
        first = held if jumps_away(window_TJ3, fps) else first
    return first, (f"{first} inserted rest frames dropped from the start",) if first else ()


def _end_of_pose(motion_TK: Float[np.ndarray, "T K"], start: int) -> int:
    """The first frame after ``start`` that differs from it."""
    end = start + 1
    while end < len(motion_TK) and np.array_equal(motion_TK[end], motion_TK[start]):
        end += 1
    return end


def _is_rest(values_K: Float[np.ndarray, "K"], hierarchy: Hierarchy) -> bool:
    """Whether no joint except the root is rotated."""
    turns = [channel.endswith("rotation") for channels in hierarchy.channels for channel in channels]
    of_root = [
        parent < 0 for parent, channels in zip(hierarchy.parents, hierarchy.channels, strict=True) for _ in channels
    ]
    return not values_K[np.array(turns) & ~np.array(of_root)].any()


def _up(
    points_TJ3: Float[np.ndarray, "T 17 3"], rest_J3: Float[np.ndarray, "17 3"], rig: Rig
) -> tuple[Float[np.ndarray, "3 3"], tuple[str, ...]]:
    """The rotation to Y up, and a description of what was rotated and why."""
    known_TJ = np.broadcast_to(_known(rig), points_TJ3.shape[:2])
    if rig.up is not None:
        up = Up(axis=rig.up)
    else:
        up = find_up(points_TJ3, known_TJ, usual="+Y", agreeing=trunk_axis(rest_J3[None], known_TJ[:1]))
    turned = (f"turned from {up.axis} up to Y up",) if up.axis != "+Y" else ()
    why = (f"up axis {up.axis}, not +Y: {up.reason}",) if up.reason else ()
    doubt = (
        (f"up axis uncertain: the trunk points along {up.rival}, +Y kept; a joint_map.json can state it",)
        if up.rival
        else ()
    )
    return rotation_to_y_up(axis_vector(up.axis)), (*turned, *why, *doubt)
