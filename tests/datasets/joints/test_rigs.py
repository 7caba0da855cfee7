"""Skeletons of many tools, written here with the names that the tools give; and maps that a user writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.files import list_files
from datasets.readers.mocap.bvh import READER
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.bvh_files import AT_REST, NAMED_LIMBS, skeleton, write_bvh

# How tools name root, belly, neck and nose; then hip, knee, ankle, toe, collar, shoulder, elbow, wrist, finger.
NAMES = {
    "LAFAN1": ("Hips Spine1 Neck Head", "{Left}{}", "UpLeg Leg Foot Toe Shoulder Arm ForeArm Hand HandIndex1"),
    "3dsMax": ("Hips Chest Neck Head", "{Left}{}", "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist Finger"),
    "Daz": ("hip abdomen neck head", "{l}{}", "Thigh Shin Foot Toe Collar Shldr ForeArm Hand Index1"),
    "iClone": (
        "CC_Base_Pelvis CC_Base_Spine01 CC_Base_NeckTwist01 CC_Base_Head", "CC_Base_{L}_{}",
        "Thigh Calf Foot ToeBase Clavicle Upperarm Forearm Hand Index1",
    ),
    "Biped": (
        "Bip01 Bip01_Spine1 Bip01_Neck Bip01_Head", "Bip01 {L} {}",
        "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand Finger0",
    ),
    "ASF": ("root upperback lowerneck head", "{l}{}", "femur tibia foot toes clavicle humerus radius wrist fingers"),
    "Unreal": (
        "pelvis spine_03 neck_01 head", "{}_{l}",
        "thigh calf foot ball clavicle upperarm lowerarm hand index_01",
    ),
    "SMPL": ("Pelvis Spine2 Neck Head", "{L}_{}", "Hip Knee Ankle Foot Collar Shoulder Elbow Wrist Hand"),
    "Mixamo": (
        "mixamorig:Hips mixamorig:Spine1 mixamorig:Neck mixamorig:Head", "mixamorig:{Left}{}",
        "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand HandIndex1",
    ),
    "Perception Neuron": (
        "Robot_Hips Robot_Spine1 Robot_Neck Robot_Head", "Robot_{Left}{}",
        "UpLeg Leg Foot Toe Shoulder Arm ForeArm Hand HandIndex1",
    ),
    "Xsens": (
        "Hips Chest2 Neck Head", "{Left}{}", "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist Finger",
    ),
    "Xsens, segments": (
        "Pelvis L3 Neck Head", "{Left}{}",
        "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand Finger",
    ),
    "Blender": ("Hips Spine1 Neck Head", "{}.{L}", "UpLeg Leg Foot Toe Shoulder Arm ForeArm Hand Index1"),
}  # fmt: skip


def read(folder: Path, content: bytes, joint_map=None) -> MotionSequence:
    (folder / "a.bvh").write_bytes(content)
    if joint_map is not None:
        (folder / "joint_map.json").write_text(joint_map if isinstance(joint_map, str) else json.dumps(joint_map))
    [recording] = READER.find(list_files(str(folder)))
    [sequence] = READER.read(recording)
    return sequence


def assert_joints(sequence: MotionSequence, expected):
    """These joints are here, and no others are there."""
    assert sequence.keypoints_3d_TJC is not None
    for j, joint in enumerate(H36M17.joints):
        np.testing.assert_allclose(
            sequence.keypoints_3d_TJC[0, j], expected.get(joint, (0, 0, 0)), atol=1e-5, err_msg=joint
        )
        assert (sequence.confidence_TJ[:, j] == (joint in expected)).all(), joint


@pytest.mark.parametrize("tool", NAMES)
def test_the_joints_of_every_tool_are_found(tmp_path, tool):
    assert_joints(read(tmp_path, write_bvh(skeleton(*NAMES[tool]))), AT_REST)


# What Axis Neuron writes, joint by joint in centimetres: parent, offset. Names as in public exports; rounded sizes.
NEURON_TRUNK = {
    "Hips": ("", (0, 96, 0)), "Spine": ("Hips", (0, 16, 0)), "Spine1": ("Spine", (0, 10, 0)),
    "Spine2": ("Spine1", (0, 10, 0)), "Spine3": ("Spine2", (0, 10, 0)), "Neck": ("Spine3", (0, 11, 0)),
    "Head": ("Neck", (0, 10, 0)),
}  # fmt: skip
NEURON_LIMBS = {
    "UpLeg": ("Hips", (10, -2, 0)), "Leg": ("UpLeg", (0, -42, 0)), "Foot": ("Leg", (0, -43, 0)),
    "Shoulder": ("Spine3", (3, 7, 0)), "Arm": ("Shoulder", (13, 0, 0)), "ForeArm": ("Arm", (27, 0, 0)),
    "Hand": ("ForeArm", (26, 0, 0)), "HandThumb1": ("Hand", (3, 0, 3)), "InHandIndex": ("Hand", (3, 1, 2)),
    "HandIndex1": ("InHandIndex", (5, 0, 1)), "InHandMiddle": ("Hand", (4, 1, 1)),
}  # fmt: skip
NEURON_ENDS = {"Head": (0, 17, 0), "LeftFoot": (0, -8, 18), "RightFoot": (0, -8, 18)}
NEURON_AT_REST = {
    "root": (0, 96, 0), "belly": (0, 122, 0), "neck": (0, 153, 0), "nose": (0, 163, 0), "head": (0, 180, 0),
    "lhip": (10, 94, 0), "lknee": (10, 52, 0), "lankle": (10, 9, 0),
    "rhip": (-10, 94, 0), "rknee": (-10, 52, 0), "rankle": (-10, 9, 0),
    "lshoulder": (16, 149, 0), "lelbow": (43, 149, 0), "lwrist": (69, 149, 0),
    "rshoulder": (-16, 149, 0), "relbow": (-43, 149, 0), "rwrist": (-69, 149, 0),
}  # fmt: skip
SIX_CHANNELS = "CHANNELS 6 Xposition Yposition Zposition Yrotation Xrotation Zrotation"


def axis_neuron(prefix: str, frames: list[dict[str, tuple[int, int, int]]], *, displaced=(0, 0, 0)) -> bytes:
    """Six channels on every joint: where it is from its parent, then its turns about y, x and z.

    ``displaced`` is added to the offset that the hierarchy states for the left forearm, not to its channels.
    """
    joints = dict(NEURON_TRUNK)
    for side, sign in (("Right", -1), ("Left", 1)):
        for part, (parent, (x, y, z)) in NEURON_LIMBS.items():
            joints[side + part] = (parent if parent in NEURON_TRUNK else side + parent, (sign * x, y, z))
    lines, order = ["HIERARCHY"], []

    def offset(xyz: tuple[float, ...]) -> str:
        return "OFFSET {:.3f} {:.3f} {:.3f}".format(*xyz)

    def node(name: str) -> None:
        parent, xyz = joints[name]
        order.append(name)
        stated = tuple(np.add(xyz, displaced)) if name == "LeftForeArm" else xyz
        lines.extend([f"{'JOINT' if parent else 'ROOT'} {prefix}{name}", "{", offset(stated), SIX_CHANNELS])
        children = [child for child, (its_parent, _) in joints.items() if its_parent == name]
        for child in children:
            node(child)
        if not children:
            lines.extend(["End Site", "{", offset(NEURON_ENDS.get(name, (2, 0, 0))), "}"])
        lines.append("}")

    node("Hips")
    lines += ["MOTION", f"Frames: {len(frames)}", "Frame Time: 0.008333"]
    for frame in frames:
        lines.append(" ".join(f"{v:.3f}" for name in order for v in (*joints[name][1], *frame.get(name, (0, 0, 0)))))
    return "\n".join(lines).encode()


def in_metres(places):
    return {joint: np.multiply(xyz, 0.01) for joint, xyz in places.items()}


@pytest.mark.parametrize("prefix", ["", "Robot_"])
def test_axis_neuron_s_six_channels_a_joint_are_understood(tmp_path, prefix):
    sequence = read(tmp_path, axis_neuron(prefix, [{}, {}]))
    assert_joints(sequence, in_metres(NEURON_AT_REST))
    assert sequence.fps == 120
    assert sequence.repairs == ("unit not stated: cm by human proportions",)


@pytest.mark.parametrize("prefix", ["", "Robot_"])
def test_axis_neuron_s_turns_are_about_y_then_x_then_z_and_positions_stand_for_offsets(tmp_path, prefix):
    """The arm turns a quarter about y (x to -z), and then, in its own axes, a quarter about z (x to y)."""
    sequence = read(tmp_path, axis_neuron(prefix, [{"LeftArm": (90, 0, 90)}], displaced=(3, 2, 1)))
    raised = {"lshoulder": (16, 149, 0), "lelbow": (16, 176, 0), "lwrist": (16, 202, 0)}
    assert_joints(sequence, in_metres(NEURON_AT_REST | raised))
    sequence = read(tmp_path, axis_neuron(prefix, [{"LeftArm": (90, 0, 0)}]))
    forward = {"lshoulder": (16, 149, 0), "lelbow": (16, 149, -27), "lwrist": (16, 149, -53)}
    assert_joints(sequence, in_metres(NEURON_AT_REST | forward))


def xsens(spine: str, side: str, parts: str) -> bytes:
    """The whole chain of vertebrae, none of which is half-way but the middle one."""
    *vertebrae, neck, head = spine.split()
    joints, parent = {}, ""
    for vertebra, height in zip(vertebrae, (0, 0.1, 0.15, 0.1, 0.1), strict=True):
        joints[vertebra] = (parent, (0, height, 0))
        parent = vertebra
    joints |= {neck: (parent, (0, 0.05, 0)), head: (neck, (0, 0.1, 0))}
    for sign, left in ((-1, "Right"), (1, "Left")):
        names = {joint: side.format(part, Left=left) for joint, part in zip(NAMED_LIMBS, parts.split(), strict=True)}
        for joint, (its_parent, (x, y, z)) in NAMED_LIMBS.items():
            if joint != "finger":
                above = {"root": vertebrae[0], "belly": vertebrae[-1]}
                y = 0.0 if joint == "collar" else y
                joints[names[joint]] = (names.get(its_parent) or above[its_parent], (sign * x, y, z))
    return write_bvh(joints, order="YXZ", unit=100)


@pytest.mark.parametrize(
    ("spine", "parts"),
    [
        ("Hips Chest Chest2 Chest3 Chest4 Neck Head", "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist -"),
        ("Pelvis L5 L3 T12 T8 Neck Head", "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand -"),
    ],
)
def test_both_name_sets_of_xsens_are_found_with_all_of_their_vertebrae(tmp_path, spine, parts):
    assert_joints(read(tmp_path, xsens(spine, "{Left}{}", parts)), AT_REST)


def without(joints, *gone):
    return {name: value for name, value in joints.items() if name not in gone}


def test_joints_that_a_rig_lacks_are_absent_and_the_leg_tells_the_unit(tmp_path):
    joints = without(skeleton(*NAMES["Daz"]), "head", "rHand", "rIndex1", "rForeArm", "lShin", "lFoot", "lToe")
    lacks = ("head", "nose", "relbow", "rwrist", "lknee", "lankle")
    # 0.84 m of leg from hip to ankle are 0.491 of 1.71 m, which is plausible in centimetres alone.
    assert_joints(read(tmp_path, write_bvh(joints, unit=100)), without(AT_REST, *lacks))


def test_the_end_of_a_forearm_is_a_wrist_and_of_a_shin_an_ankle(tmp_path):
    joints = skeleton(*NAMES["LAFAN1"])
    gone = {"LeftHand", "LeftHandIndex1", "LeftFoot", "LeftToe"}
    sequence = read(tmp_path, write_bvh(without(joints, *gone)))
    ends = {"lwrist": (0.46, 0.6, 0), "lankle": (0.1, -0.32, 0)}  # the writer ends every bone 0.15 above its joint
    assert_joints(sequence, AT_REST | ends)


def test_a_head_with_other_children_has_no_known_top(tmp_path):
    joints = skeleton(*NAMES["LAFAN1"]) | {"Jaw": ("Head", (0, 0, 0.05))}
    assert_joints(read(tmp_path, write_bvh(joints)), without(AT_REST, "head"))


def test_the_root_is_where_the_legs_meet(tmp_path):
    joints = {"RL_BoneRoot": ("", (0, 0, 0))} | skeleton(*NAMES["iClone"])
    joints["CC_Base_Pelvis"] = ("RL_BoneRoot", (0, 0.9, 0))
    assert_joints(
        read(tmp_path, write_bvh(joints)), {joint: np.add(xyz, (0, 0.9, 0)) for joint, xyz in AT_REST.items()}
    )


@pytest.mark.parametrize("tool", ["LAFAN1", "iClone"])
def test_a_body_whose_left_is_on_its_right_is_refused(tmp_path, tool):
    with pytest.raises(RecordingError, match="left and right"):
        read(tmp_path, write_bvh(skeleton(*NAMES[tool], mirror=-1.0)))


def test_two_joints_for_one_place_are_refused_unless_a_map_decides(tmp_path):
    joints = skeleton(*NAMES["Daz"]) | {"Neck": ("neck", (0, 0, 0))}
    with pytest.raises(RecordingError, match="one joint that can be neck, found neck, Neck"):
        read(tmp_path, write_bvh(joints))


STRANGE = ("a b c d", "{l}{}", "1 2 3 4 5 6 7 8 9")
MAP = {
    "root": "a", "belly": "b", "neck": "c", "nose": "d", "head": "d/end",
    **{s + joint: f"{s}{n}" for s in "lr" for joint, n in (("hip", 1), ("knee", 2), ("ankle", 3))},
    **{s + joint: f"{s}{n}" for s in "lr" for joint, n in (("shoulder", 6), ("elbow", 7), ("wrist", 8))},
}  # fmt: skip


def test_names_that_no_rule_knows_need_a_map_which_gives_them_all(tmp_path):
    content = write_bvh(skeleton(*STRANGE))
    with pytest.raises(RecordingError, match=r"none of them among the joints a, b, .*joint_map\.json"):
        read(tmp_path, content)
    assert_joints(read(tmp_path, content, {"joints": MAP}), AT_REST)


def test_a_map_goes_before_the_tables_and_leaves_out_what_it_leaves_out(tmp_path):
    sequence = read(tmp_path, write_bvh(unit=50), {"joints": {"root": "x:Spine", "lknee": "LeftLeg"}, "unit_m": 0.02})
    assert_joints(sequence, {"root": (0, 0.1, 0), "lknee": AT_REST["lknee"]})
    assert sequence.repairs == ()


def test_a_map_may_put_a_joint_between_several_of_the_file(tmp_path):
    joints = {"root": ["LeftUpLeg", "RightUpLeg"], "lknee": "LeftLeg"}
    sequence = read(tmp_path, write_bvh(), {"joints": joints, "unit_m": 1})
    assert_joints(sequence, {"root": (0, -0.05, 0), "lknee": AT_REST["lknee"]})


def test_a_map_may_state_the_unit_alone(tmp_path):
    sequence = read(tmp_path, write_bvh(skeleton(*NAMES["Daz"]), unit=50), {"unit_m": 0.02})
    assert_joints(sequence, AT_REST)
    assert sequence.repairs == ()


def test_a_map_states_the_up_axis(tmp_path):
    lying = write_bvh(skeleton(*STRANGE), [{"a": (0, 90, 0)}] * 2, turn=lambda xyz: (xyz[0], -xyz[2], xyz[1]))
    sequence = read(tmp_path, lying, {"joints": MAP, "up": "+Z"})
    # The file's x axis turns its Z up to -Y; with Y up that is +Z.
    assert_joints(sequence, {joint: (x, -z, y) for joint, (x, y, z) in AT_REST.items()})


def test_the_nearest_map_counts(tmp_path):
    for path in ("x/y/a.bvh", "x/b.bvh", "c.bvh", "x/joint_map.json", "x/y/joint_map.json", "z/joint_map.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    found = {Path(each.path).name: each.companions for each in READER.find(list_files(str(tmp_path)))}
    maps = (str(tmp_path / "x/y/joint_map.json"),), (str(tmp_path / "x/joint_map.json"),), ()
    assert found == dict(zip(("a.bvh", "b.bvh", "c.bvh"), maps, strict=True))


@pytest.mark.parametrize(
    ("joint_map", "message"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "an object with"),
        ("{}", 'an object with "joints", "unit_m" or "up"'),
        ({"joints": {"root": "a", "neck": []}}, "a name, or a list of different names, for neck"),
        ({"joints": {"root": "a", "neck": ["b", "b"]}}, "a name, or a list of different names, for neck"),
        ({"joints": {"root": "a", "neck": ["b", "z"]}}, r"not in it: {'neck': \['b', 'z'\]}"),
        ({"joints": ["a"]}, "an object with"),
        ({"joints": {"lknee": "a"}}, "a joint for root"),
        ({"joints": {"root": "a", "tail": "b"}}, r"lwrist, .* found \['tail'\]"),
        ({"joints": {"root": "z", "neck": 3}}, r"a\.bvh, which has a, b, c, .*not in it: {'root': 'z', 'neck': '3'}"),
        ({"joints": {"root": "a", "neck": "a"}}, "named twice"),
        ({"joints": {"root": "a"}, "units": 1}, r"\['units'\]"),
        ({"joints": {"root": "a"}, "unit_m": 0}, "unit_m: metres per unit, above 0, found 0"),
        ({"joints": {"root": "a"}, "unit_m": "cm"}, "unit_m"),
        ({"joints": {"root": "a"}, "up": "Z"}, "up: one of"),
        ({"joints": {"root": "a"}, "up": []}, "up: one of"),
        ({"joints": {"root": "a"}}, "unit: expected hip, knee and ankle"),
    ],
)
def test_a_map_that_cannot_be_used_says_why(tmp_path, joint_map, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, write_bvh(skeleton(*STRANGE)), joint_map)
