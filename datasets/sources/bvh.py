"""BVH: joint angles of any rig whose joint names we have a table for.

The conventions, from the files themselves: a node's world rotation is its parent's times its own channels in the order
they are written, left to right; position channels replace the node's offset (most tools write them so); angles are
degrees. What a file does not say (rig, unit, up axis) is found by ``rigs.py``; every guess is stated in ``repairs``. A
frame 0 that the converter inserted as a T-pose is dropped. One CPU core reads about 40,000 frames a second.

Shapes: T frames, N nodes (joints and end sites), K channels, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from datasets.files import read_bytes
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from datasets.sources.catalogue import identify
from datasets.sources.kinematics import euler_rotation, world_positions, world_rotations
from datasets.sources.rigs import Rig, rig_of, unit_of, up_axis
from motion_encoder.shapes import Float
from motion_encoder.skeletons import H36M17, Conversion

RATES_HZ = (*range(1, 501), *(n * 1000 / 1001 for n in (24, 30, 60, 120, 240)))
RATE_TOLERANCE = 0.0015
"""Frame times are written with as few as three digits: .0333 is 30 Hz, .008342 is 120/1.001 Hz."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """The HIERARCHY block. Parents stand before their children; end sites are called ``PARENT/end``."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_N3: Float[np.ndarray, "N 3"]
    channels: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bvh:
    """A parsed file: the hierarchy, the frame time in seconds and the channel values as written."""

    hierarchy: Hierarchy
    frame_time_s: float
    motion_TK: Float[np.ndarray, "T K"]


class BvhReader:
    """Reads BVH files of the rigs in ``rigs.py``."""

    name = "bvh"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim every ``.bvh``."""
        return [
            Recording(path=file.path, reader=self.name, source=identify(file.path, "bvh").source, size=file.size)
            for file in files
            if file.path.lower().endswith(".bvh")
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the one sequence of a file."""
        bvh = parse_bvh(read_bytes(recording.path), recording.path)
        rig = rig_of(bvh.hierarchy.names, recording.path)
        bvh, frame_repairs = _without_inserted_frames(bvh, rig, recording.path)
        hierarchy, bone_repairs = _with_left_out_bones(bvh.hierarchy, rig)
        positions_TJ3 = _to_h36m17(node_positions(hierarchy, bvh.motion_TK), hierarchy, rig)
        rest_J3 = _to_h36m17(world_positions(hierarchy.parents, hierarchy.offsets_N3[None]), hierarchy, rig)[0]
        metres, unit_repairs = unit_of(rest_J3, rig)
        rotation_33, axis_repairs = up_axis(positions_TJ3, rest_J3)
        identity = identify(recording.path, "bvh")
        yield MotionSequence(
            source=recording.source,
            sequence_id=identity.sequence_id,
            subject=identity.subject,
            action=identity.action,
            label=identity.label,
            fps=frame_rate(bvh.frame_time_s),
            keypoints_3d_TJC=(metres * positions_TJ3 @ rotation_33.T).astype(np.float32),
            confidence_TJ=np.ones(positions_TJ3.shape[:2], np.float32),
            repairs=(*frame_repairs, *bone_repairs, *unit_repairs, *axis_repairs),
        )


READER = BvhReader()


def parse_bvh(content: bytes, path: str) -> Bvh:
    """Parse a file's content; ``path`` is for messages.

    Raises:
        RecordingError: It is not BVH, or it is cut off.
    """
    header, keyword, motion = content.partition(b"MOTION")
    counts = re.match(rb"\s*Frames:\s*(\d+)\s*Frame\s+Time:\s*(\S+)", motion)
    if not keyword or not counts:
        raise _error(path, "header", "HIERARCHY, MOTION, 'Frames:' and 'Frame Time:'", "a file without them")
    hierarchy = _parse_hierarchy(header.decode("latin-1").split(), path)
    num_frames, num_channels = int(counts[1]), sum(map(len, hierarchy.channels))
    try:
        frame_time_s = float(counts[2])
        values = np.array(motion[counts.end() :].split(), dtype=np.float64)
    except ValueError as error:
        raise _error(path, "MOTION", "numbers", str(error)) from error
    if values.size != num_frames * num_channels or num_frames == 0:
        expected = f"{num_frames} frames of {num_channels} channels = {num_frames * num_channels} numbers"
        raise _error(path, "MOTION", expected, f"{values.size}")
    if not 0 < frame_time_s < 1:
        raise _error(path, "Frame Time", "seconds between 0 and 1", f"{frame_time_s}")
    return Bvh(hierarchy=hierarchy, frame_time_s=frame_time_s, motion_TK=values.reshape(num_frames, num_channels))


def node_positions(hierarchy: Hierarchy, motion_TK: Float[np.ndarray, "T K"]) -> Float[np.ndarray, "T N 3"]:
    """Forward kinematics: the world position of every node, in the file's unit and axes."""
    num_frames = len(motion_TK)
    local_TN33 = np.broadcast_to(np.eye(3), (num_frames, len(hierarchy.names), 3, 3)).copy()
    step_TN3 = np.broadcast_to(hierarchy.offsets_N3, (num_frames, len(hierarchy.names), 3)).copy()
    start = 0
    for node, channels in enumerate(hierarchy.channels):
        values_TK = motion_TK[:, start : start + len(channels)]
        start += len(channels)
        turns = [k for k, channel in enumerate(channels) if channel.endswith("rotation")]
        local_TN33[:, node] = euler_rotation("".join(channels[k][0] for k in turns), values_TK[:, turns])
        for k, channel in enumerate(channels):
            if channel.endswith("position"):
                step_TN3[:, node, "XYZ".index(channel[0])] = values_TK[:, k]
    world_TN33 = world_rotations(hierarchy.parents, local_TN33)
    for node, parent in enumerate(hierarchy.parents):
        if parent >= 0:
            step_TN3[:, node] = (world_TN33[:, parent] @ step_TN3[:, node, :, None])[..., 0]
    return world_positions(hierarchy.parents, step_TN3)


def frame_rate(frame_time_s: float) -> float:
    """Return the rate that a rounded frame time stands for: the nearest usual one within 0.15 %, else its inverse."""
    rate = 1 / frame_time_s
    usual = min(RATES_HZ, key=lambda candidate: abs(candidate - rate))
    return float(usual) if abs(usual - rate) <= RATE_TOLERANCE * rate else rate


def _parse_hierarchy(tokens: list[str], path: str) -> Hierarchy:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_nodes: list[int] = []
    stream = iter(tokens)
    try:
        for token in stream:
            if token in ("ROOT", "JOINT", "End"):
                parents.append(open_nodes[-1] if open_nodes else -1)
                name = next(stream)
                names.append(f"{names[parents[-1]]}/end" if token == "End" else name.rpartition(":")[2])
                channels.append(())
                offsets.append([0.0, 0.0, 0.0])
            elif token == "{":
                open_nodes.append(len(names) - 1)
            elif token == "}":
                open_nodes.pop()
            elif token == "OFFSET":
                offsets[-1] = [float(next(stream)) for _ in range(3)]
            elif token == "CHANNELS":
                channels[-1] = tuple(_channel(next(stream)) for _ in range(int(next(stream))))
            elif token != "HIERARCHY":
                raise ValueError(f"the word {token!r}")
    except (ValueError, IndexError, StopIteration) as error:
        where = f"HIERARCHY, at {names[-1] if names else 'its start'}"
        raise _error(path, where, "ROOT, JOINT, End Site, OFFSET and CHANNELS", str(error) or "its end") from error
    if open_nodes or not names:
        raise _error(path, "HIERARCHY", "a tree of joints in matching braces", f"{len(open_nodes)} left open")
    return Hierarchy(names=tuple(names), parents=tuple(parents), offsets_N3=np.array(offsets), channels=tuple(channels))


def _channel(word: str) -> str:
    channel = word[:1].upper() + word[1:].lower()
    if channel not in {axis + what for axis in "XYZ" for what in ("position", "rotation")}:
        raise ValueError(f"the channel {word!r}")
    return channel


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
        raise _error(path, "MOTION", "captured frames", f"{dropped} inserted rest poses and nothing else")
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


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Fetch the file again, or export it anew as BVH."
    )
