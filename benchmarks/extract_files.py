"""Generate recordings for the benchmark: small writers of public formats, each following the format's description.

The motion is a swaying body, since reading speed does not depend on the motion. Sizes are those of real recordings: 28
nodes and 72 channels in BVH, 31 bones in AMC, 38 markers in C3D, numbers with four decimals.

Shapes: T frames, M people, K keypoints, N nodes or bones or markers, C channels.
"""

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import c3d
import numpy as np

from motion_encoder.shapes import Float

Vector = tuple[float, float, float]

# Joint: parent, offset in metres.
_TRUNK: dict[str, tuple[str, Vector]] = {
    "Hips": ("", (0, 0, 0)), "Spine": ("Hips", (0, 0.12, 0)), "Spine1": ("Spine", (0, 0.14, 0)),
    "Neck": ("Spine1", (0, 0.26, 0)), "Head": ("Neck", (0, 0.1, 0.02)),
}  # fmt: skip
_LIMBS: dict[str, tuple[str, Vector]] = {
    "UpLeg": ("Hips", (0.1, -0.05, 0)), "Leg": ("UpLeg", (0, -0.42, 0)), "Foot": ("Leg", (0, -0.42, 0)),
    "ToeBase": ("Foot", (0, -0.05, 0.14)), "Shoulder": ("Spine1", (0.05, 0.2, 0)), "Arm": ("Shoulder", (0.13, 0, 0)),
    "ForeArm": ("Arm", (0.28, 0, 0)), "Hand": ("ForeArm", (0.25, 0, 0)), "HandIndex1": ("Hand", (0.09, 0, 0)),
}  # fmt: skip
_END: Vector = (0, 0.1, 0)
# Bone: parent, direction, length in ASF units (0.45 inch, by CMU's convention).
_ASF_UNIT_M = 0.0254 / 0.45
_ASF_TRUNK: dict[str, tuple[str, Vector, float]] = {
    "lowerback": ("root", (0, 1, 0), 2.1), "upperback": ("lowerback", (0, 1, 0), 2.1),
    "thorax": ("upperback", (0, 1, 0), 2.1), "lowerneck": ("thorax", (0, 1, 0), 1.7),
    "upperneck": ("lowerneck", (0, 1, 0), 1.7), "head": ("upperneck", (0, 1, 0), 1.8),
}  # fmt: skip
_ASF_LIMBS: dict[str, tuple[str, Vector, float]] = {
    "hipjoint": ("root", (0.8, -0.6, 0), 2.2), "femur": ("hipjoint", (0, -1, 0), 7.2),
    "tibia": ("femur", (0, -1, 0), 7.5), "foot": ("tibia", (0, -0.28, 0.96), 2.3), "toes": ("foot", (0, 0, 1), 1.1),
    "clavicle": ("thorax", (1, 0, 0), 3.3), "humerus": ("clavicle", (1, 0, 0), 4.9),
    "radius": ("humerus", (1, 0, 0), 3.4), "wrist": ("radius", (1, 0, 0), 1.7), "hand": ("wrist", (1, 0, 0), 0.7),
    "fingers": ("hand", (1, 0, 0), 0.6), "thumb": ("wrist", (0.7, 0, 0.7), 0.8),
}  # fmt: skip
# Markers of Plug-in Gait in millimetres, Z up, facing Y: those in the middle, then those of the left side.
_MARKERS: dict[str, Vector] = {
    "C7": (0, -80, 1450),
    "T10": (0, -110, 1200),
    "CLAV": (0, 60, 1400),
    "STRN": (0, 90, 1250),
}
_LEFT_MARKERS: dict[str, Vector] = {
    "FHD": (-70, 90, 1650), "BHD": (-70, -80, 1650), "SHO": (-190, 0, 1430), "UPA": (-250, 0, 1300),
    "ELB": (-280, 0, 1150), "FRM": (-290, 20, 1050), "WRA": (-300, 60, 920), "WRB": (-340, 20, 920),
    "FIN": (-320, 60, 830), "ASI": (-120, 90, 1000), "PSI": (-50, -90, 1020),
    "THI": (-150, 20, 750),  # codespell:ignore thi
    "KNE": (-140, 0, 520), "TIB": (-130, 0, 300), "ANK": (-120, 0, 90), "HEE": (-100, -60, 50),
    "TOE": (-100, 140, 40),
}  # fmt: skip


def write_recordings(folder: Path, name: str, *, count: int, frames: int) -> None:
    """Write ``count`` recordings of a format, of ``frames`` frames each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        WRITERS[name](folder, number, frames)


def write_bvh(folder: Path, number: int, frames: int) -> None:
    """Write a person's joint angles in degrees, with offsets in metres, at 120 Hz."""
    joints = _both_sides(_TRUNK, _LIMBS)
    lines = ["HIERARCHY", *_bvh_node("Hips", joints), "MOTION", f"Frames: {frames}", "Frame Time: 0.0083333"]
    num_joints = sum(line.startswith("CHANNELS") for line in lines)
    angles_TN = sway(number, frames, 3 * num_joints, rate=120) * 12
    root_T3 = sway(number + 100, frames, 3, rate=120) * 0.2 + np.array([0, 0.95, 0])
    lines += _lines_of_numbers(np.concatenate([root_T3, angles_TN], axis=1))
    (folder / f"person{number}_walk.bvh").write_text("\n".join(lines) + "\n")


def write_amc(folder: Path, number: int, frames: int) -> None:
    """Write the same motion as ASF/AMC, every bone with three degrees of freedom."""
    bones = {
        name: (parent, direction, length)
        for side, sign in (("l", 1), ("r", -1))
        for part, (over, (x, y, z), length) in _ASF_LIMBS.items()
        for name, parent, direction in [
            (side + part, over if over in (*_ASF_TRUNK, "root") else side + over, (sign * x, y, z))
        ]
    }
    bones = _ASF_TRUNK | bones
    asf = [":version 1.10", ":name VICON", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root"]
    asf += ["  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]
    for identifier, (name, (_, direction, length)) in enumerate(bones.items(), start=1):
        pointing = " ".join(f"{value:.4f}" for value in direction)
        asf += ["  begin", f"    id {identifier}", f"    name {name}", f"    direction {pointing}"]
        asf += [f"    length {length}", "    axis 0 0 20 XYZ", "    dof rx ry rz", "  end"]
    asf += [":hierarchy", "  begin"]
    for parent in ("root", *bones):
        if children := [name for name, (over, *_) in bones.items() if over == parent]:
            asf.append(f"    {parent} {' '.join(children)}")
    (folder / f"person{number}.asf").write_text("\n".join([*asf, "  end", ""]))
    angles_TN = sway(number, frames, 3 * len(bones) + 3, rate=120) * 12
    root_T3 = sway(number + 100, frames, 3, rate=120) + np.array([0, 0.95 / _ASF_UNIT_M, 0])
    amc = [":FULLY-SPECIFIED", ":DEGREES"]
    for frame, (root, angles) in enumerate(zip(root_T3, angles_TN.reshape(frames, -1, 3), strict=True), start=1):
        amc += [str(frame), f"root {_numbers((*root, *angles[0]))}"]
        amc += [f"{name} {_numbers(values)}" for name, values in zip(bones, angles[1:], strict=True)]
    (folder / f"person{number}_walk.amc").write_text("\n".join(amc) + "\n")


def write_c3d(folder: Path, number: int, frames: int) -> None:
    """Write markers of Plug-in Gait in millimetres at 100 Hz, as real numbers."""
    right = {f"R{name}": (-x, y, z) for name, (x, y, z) in _LEFT_MARKERS.items()}
    markers = _MARKERS | {f"L{name}": place for name, place in _LEFT_MARKERS.items()} | right
    path_T13 = sway(number, frames, 3, rate=100)[:, None] * 50
    points_TN3 = np.array(list(markers.values())) + path_T13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about missing analog channels
        _write_points(folder / f"person{number}_walk.c3d", list(markers), points_TN3)


def _write_points(path: Path, labels: list[str], points_TN3: Float[np.ndarray, "T N 3"]) -> None:
    writer = c3d.Writer(point_rate=100.0, point_scale=-1.0, point_units="mm ")
    writer.set_point_labels([label.ljust(4) for label in labels])
    rest_TN2 = np.zeros((*points_TN3.shape[:2], 2))
    samples_TN5 = np.concatenate([points_TN3, rest_TN2], axis=-1).astype(np.float32)
    writer.add_frames([(points_N5, np.empty((0, 0))) for points_N5 in samples_TN5])
    with path.open("wb") as file:
        writer.write(file)


def write_alphapose(folder: Path, number: int, frames: int) -> None:
    """Write two people with 26 keypoints (Halpe) in each frame, not tracked."""
    entries = [
        {
            "image_id": f"{frame}.jpg", "category_id": 1, "keypoints": points_K3.ravel().round(4).tolist(),
            "score": 2.9, "box": [*points_K3[:, :2].min(axis=0).tolist(), 300.0, 800.0], "idx": [0.0],
        }
        for frame, points_MK3 in enumerate(_people(number, frames, 26))
        for points_K3 in points_MK3
    ]  # fmt: skip
    (folder / f"video{number}.json").write_text(json.dumps(entries))


def write_openpose(folder: Path, number: int, frames: int) -> None:
    """Write a folder with one file per frame, with two people of 25 keypoints each."""
    video = folder / f"video{number}"
    video.mkdir(exist_ok=True)
    for frame, points_MK3 in enumerate(_people(number, frames, 25)):
        people = [{"person_id": [-1], "pose_keypoints_2d": each.ravel().round(3).tolist()} for each in points_MK3]
        content = json.dumps({"version": 1.3, "people": people})
        (video / f"video{number}_{frame:012}_keypoints.json").write_text(content)


def write_ntu(folder: Path, number: int, frames: int) -> None:
    """Write one body of the Kinect v2, with 25 joints of twelve numbers each."""
    joints_TKC = sway(number, frames, 25 * 11, rate=30).reshape(frames, 25, 11)
    lines = [str(frames)]
    for joints_KC in joints_TKC:
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.01 0.02 2", "25"]
        lines += [f"{_numbers(values)} 2" for values in joints_KC]
    (folder / f"S001C001P{number + 1:03}R001A001.skeleton").write_text("\n".join(lines) + "\n")


def write_pyskl(folder: Path, number: int, frames: int) -> None:
    """Write a pickle of clips of 100 frames: two people, 17 keypoints, float16."""
    points_TMK3 = _people(number, frames, 17)
    clips = np.split(points_TMK3, range(100, frames, 100))
    annotations = [
        {
            "frame_dir": f"clip{clip}", "label": clip % 60, "img_shape": (1080, 1920), "original_shape": (1080, 1920),
            "total_frames": len(points), "keypoint": points[..., :2].swapaxes(0, 1).astype(np.float16),
            "keypoint_score": points[..., 2].swapaxes(0, 1).astype(np.float16),
        }
        for clip, points in enumerate(clips)
    ]  # fmt: skip
    names = [each["frame_dir"] for each in annotations]
    content = pickle.dumps({"split": {"train": names, "val": []}, "annotations": annotations})
    (folder / f"action{number}.pkl").write_bytes(content)


WRITERS: Mapping[str, Callable[[Path, int, int], None]] = {
    "bvh": write_bvh, "amc": write_amc, "c3d": write_c3d, "alphapose": write_alphapose, "openpose": write_openpose,
    "ntu": write_ntu, "pyskl": write_pyskl,
}  # fmt: skip


def sway(seed: int, frames: int, count: int, *, rate: float) -> Float[np.ndarray, "T N"]:
    """Return sines between -1 and 1, of half a hertz or less, each with its own frequency and phase."""
    rng = np.random.default_rng(seed)
    beat_N, start_N = rng.uniform(0.1, 0.5, count), rng.uniform(0, 2 * np.pi, count)
    return np.sin(np.arange(frames)[:, None] / rate * 2 * np.pi * beat_N + start_N)


def _people(seed: int, frames: int, keypoints: int) -> Float[np.ndarray, "T 2 K 3"]:
    """Pixels and confidence of two people side by side."""
    place_2K2 = np.random.default_rng(seed).uniform((0, 100), (300, 900), (2, keypoints, 2)) + np.array(
        [[[300, 0]], [[1200, 0]]]
    )
    moved_T2K2 = place_2K2 + 20 * sway(seed, frames, 4 * keypoints, rate=30).reshape(frames, 2, keypoints, 2)
    confidence_T2K1 = np.broadcast_to(0.9, (frames, 2, keypoints, 1))
    return np.concatenate([moved_T2K2, confidence_T2K1], axis=-1)


def _both_sides(
    trunk: Mapping[str, tuple[str, Vector]], limbs: Mapping[str, tuple[str, Vector]]
) -> dict[str, tuple[str, Vector]]:
    sided = {
        side + part: (parent if parent in trunk else side + parent, (sign * x, y, z))
        for side, sign in (("Left", 1), ("Right", -1))
        for part, (parent, (x, y, z)) in limbs.items()
    }
    return {**trunk, **sided}


def _bvh_node(name: str, joints: Mapping[str, tuple[str, Vector]]) -> list[str]:
    parent, offset = joints[name]
    channels = "Zrotation Yrotation Xrotation"
    lines = [f"{'JOINT' if parent else 'ROOT'} {name}", "{", f"OFFSET {_numbers(offset)}"]
    lines.append(f"CHANNELS 3 {channels}" if parent else f"CHANNELS 6 Xposition Yposition Zposition {channels}")
    children = [child for child, (over, _) in joints.items() if over == name]
    for child in children:
        lines += _bvh_node(child, joints)
    if not children:
        lines += ["End Site", "{", f"OFFSET {_numbers(_END)}", "}"]
    return [*lines, "}"]


def _lines_of_numbers(values_TN: Float[np.ndarray, "T N"]) -> list[str]:
    return [_numbers(values) for values in values_TN]


def _numbers(values: "tuple[float, ...] | np.ndarray") -> str:
    return " ".join(f"{value:.4f}" for value in values)
