"""BVH: joint angles of any rig, its joints told by table, by name rules or by the user's ``joint_map.json``.

The conventions, from the files themselves: a node's world rotation is its parent's times its own channels in the order
they are written, left to right; position channels replace the node's offset (most tools write them so); angles are
degrees. What a file does not say (rig, unit, up axis) is found by ``rigs.py`` and ``rig_rules.py``; every guess is
stated in ``repairs``, and a body whose left lies on its right is refused. Joints that a rig lacks are absent. A frame 0
that the converter inserted as a T-pose is dropped. The conversions of CMU's data base state 120 Hz for all of it, also
where it is 60 Hz (cmu_rates.py). A file is known by its suffix, or by its first words, HIERARCHY and ROOT. One CPU core
turns about 80,000 frames a second into joint positions.

Shapes: T frames, N nodes (joints and end sites), K channels, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from datasets.assembly.cmu_rates import known_rate
from datasets.assembly.path_rules import BVH, CMU, FAIR, identify
from datasets.assembly.text_head import text_head
from datasets.files import read_bytes
from datasets.joints import joint_map
from datasets.joints.kinematics import BLOCK, along, cosine_and_sine, turned, unturned, world_positions
from datasets.joints.rig_rules import rig_by_rules
from datasets.joints.rigs import Rig, is_mirrored, known_rig, unit_of, up_axis
from datasets.readers.mocap.bvh_file import Bvh, Hierarchy, damaged, parse_bvh
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

SOURCES = (BVH, CMU, FAIR)
RATES_HZ = (*range(1, 501), *(n * 1000 / 1001 for n in (24, 30, 60, 120, 240)))
RATE_TOLERANCE = 0.0015
"""Frame times are written with as few as three digits: .0333 is 30 Hz, .008342 is 120/1.001 Hz."""
CONVERTERS_HZ = 120.0
"""What the conversions of CMU's data base state for every file."""
_FIRST_WORDS = re.compile(rb"HIERARCHY\s+ROOT\s")


class BvhReader:
    """Reads BVH files of any rig; a ``joint_map.json`` in the folder, or in one above, is a companion."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.bvh``, and what begins as one; the nearest joint map is attached where there is one."""
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
        """Return the joint map that is nearest to a file, if there is one."""
        maps = [file.path for file in files if PurePosixPath(file.path).name == joint_map.NAME]
        return joint_map.nearest_map(path, maps)

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the one sequence of a file."""
        bvh = parse_bvh(read_bytes(recording.path), recording.path)
        rig = _rig(bvh.hierarchy, recording)
        bvh, frame_repairs = _without_inserted_frames(bvh, rig, recording.path)
        hierarchy, bone_repairs = _with_left_out_bones(bvh.hierarchy, rig)
        positions_TN3 = node_positions(hierarchy, bvh.motion_TK)
        _check_sides(positions_TN3, hierarchy, rig, recording.path)
        positions_TJ3 = _to_h36m17(positions_TN3, hierarchy, rig)
        rest_J3 = _to_h36m17(world_positions(hierarchy.parents, hierarchy.offsets_N3[None]), hierarchy, rig)[0]
        metres, unit_repairs = unit_of(rest_J3, rig, recording.path)
        rotation_33, axis_repairs = up_axis(positions_TJ3, rest_J3, rig)
        identity = identify(recording.path, "bvh")
        fps, rate_repairs = _rate(bvh, identity.subject)
        yield MotionSequence(
            source=recording.source,
            sequence_id=identity.sequence_id,
            subject=identity.subject,
            action=identity.action,
            label=identity.label,
            fps=fps,
            keypoints_3d_TJC=(metres * positions_TJ3 @ rotation_33.T).astype(np.float32),
            confidence_TJ=np.tile(np.isin(H36M17.joints, list(rig.table)), (len(positions_TJ3), 1)).astype(np.float32),
            repairs=(*rate_repairs, *frame_repairs, *bone_repairs, *unit_repairs, *axis_repairs),
        )


READER = BvhReader()


def node_positions(hierarchy: Hierarchy, motion_TK: Float[np.ndarray, "T K"]) -> Float[np.ndarray, "T N 3"]:
    """Forward kinematics: the world position of every node, in the file's unit and axes."""
    positions_TN3 = np.empty((len(motion_TK), len(hierarchy.names), 3))
    for start in range(0, len(motion_TK), BLOCK):
        block = slice(start, start + BLOCK)
        for node, position_3T in enumerate(_positions(hierarchy, np.ascontiguousarray(motion_TK[block].T))):
            positions_TN3[block, node] = position_3T.T
    return positions_TN3


def _positions(hierarchy: Hierarchy, motion_KT: Float[np.ndarray, "K T"]) -> Iterator[Float[np.ndarray, "3 T"]]:
    """Walk down the tree: a node stands at a step along its parent's axes, and turns them for its children."""
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
        if last_child[parent] == node:  # memory that is used again at once is still in the cache
            del done[parent]


def frame_rate(frame_time_s: float) -> float:
    """Return the rate that a rounded frame time stands for: the nearest usual one within 0.15 %, else its inverse."""
    rate = 1 / frame_time_s
    usual = min(RATES_HZ, key=lambda candidate: abs(candidate - rate))
    return float(usual) if abs(usual - rate) <= RATE_TOLERANCE * rate else rate


def _rate(bvh: Bvh, subject: str) -> tuple[float, tuple[str, ...]]:
    """The rate that the file states, unless it is the converter's and known to be wrong."""
    stated, known = frame_rate(bvh.frame_time_s), known_rate(subject)
    if known is None or stated != CONVERTERS_HZ:
        return stated, ()
    return known, (f"frame rate {known:g} Hz, as is known of this subject, not the converter's {stated:g} Hz",)


def _rig(hierarchy: Hierarchy, recording: Recording) -> Rig:
    """The user's map goes first, then our tables, then rules."""
    names = hierarchy.names
    if recording.companions:
        rig = joint_map.rig_from_map(recording.companions[0], names, recording.path)
    else:
        rig = known_rig(names) or rig_by_rules(names, hierarchy.parents, hierarchy.offsets_N3, recording.path)
    if twice := sorted({name for name in rig.table.values() if names.count(name) > 1}):
        raise damaged(recording.path, "joint names", "each name once (one person a file)", f"{twice} several times")
    return rig


def _check_sides(positions_TN3: Float[np.ndarray, "T N 3"], hierarchy: Hierarchy, rig: Rig, path: str) -> None:
    """Refuse a body whose left, by name, lies on its right, by where its feet point."""
    if not {"neck", "lhip", "rhip", "lankle", "rankle"} <= set(rig.table):
        return
    at = {joint: hierarchy.names.index(name) for joint, name in rig.table.items()}
    toes = [
        (at[ankle], hierarchy.parents.index(at[ankle]))
        for ankle in ("lankle", "rankle")
        if at[ankle] in hierarchy.parents
    ]
    forward_T3 = sum((positions_TN3[:, toe] - positions_TN3[:, ankle] for ankle, toe in toes), np.zeros(3))
    up_T3 = positions_TN3[:, at["neck"]] - positions_TN3[:, at["root"]]
    left_T3 = positions_TN3[:, at["lhip"]] - positions_TN3[:, at["rhip"]]
    if is_mirrored(up_T3, forward_T3, left_T3):
        raise RecordingError(
            path,
            where="left and right",
            expected="the left hip left of the right one, seen along the feet",
            found="it on the other side: names exchanged, or left-handed coordinates",
            fix="Export it right-handed, or exchange the names in a joint_map.json beside it.",
        )


def _without_inserted_frames(bvh: Bvh, rig: Rig, path: str) -> tuple[Bvh, tuple[str, ...]]:
    """Drop what a converter put before the motion: a T-pose in frame 0, then frames of nothing but zeros.

    Told by the rig and the content, not by the file name: an inserted T-pose has whole degrees only and an unturned
    root; a captured frame never does.
    """
    turns_T = bvh.motion_TK[:, 3:]
    dropped = 0
    if rig.begins_in_t_pose and np.all(turns_T[0] == np.round(turns_T[0])) and not turns_T[0, :3].any():
        dropped = 1
        while dropped < len(bvh.motion_TK) and not bvh.motion_TK[dropped].any():
            dropped += 1
    if dropped == len(bvh.motion_TK):
        raise damaged(path, "MOTION", "captured frames", f"{dropped} inserted rest poses and nothing else")
    repairs = (f"{dropped} inserted rest frames dropped from the start",) if dropped else ()
    return replace(bvh, motion_TK=bvh.motion_TK[dropped:]), repairs


def _with_left_out_bones(hierarchy: Hierarchy, rig: Rig) -> tuple[Hierarchy, tuple[str, ...]]:
    """Move joints that sit on their parent to where the rig's left-out bone would put them."""
    offsets_N3 = hierarchy.offsets_N3.copy()
    moved = []
    for joint, stand_in in rig.left_out.items():
        node = hierarchy.names.index(joint)
        if not offsets_N3[node].any():
            offsets_N3[node] = hierarchy.offsets_N3[hierarchy.names.index(stand_in)]
            moved.append(joint)
    repairs = (f"thorax bone restored below {', '.join(moved)}",) if moved else ()
    return replace(hierarchy, offsets_N3=offsets_N3), repairs


def _to_h36m17(
    positions_TN3: Float[np.ndarray, "T N 3"], hierarchy: Hierarchy, rig: Rig
) -> Float[np.ndarray, "T 17 3"]:
    conversion = Conversion(source_joints=hierarchy.names, target=H36M17, table=rig.table)
    return conversion.positions(positions_TN3)
