"""Joint names as many tools and data sets write them, each on one body whose joints are known."""

from pathlib import Path

import numpy as np
import pytest

from datasets.readers.mocap.bvh import READER
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.bvh_files import AT_REST, HEAD_END, skeleton, write_bvh
from tests.datasets.reading import read_one

# Root, belly, neck and nose; then hip, knee, ankle, toe, collar, shoulder, elbow, wrist, finger.
NAMES = {
    "Wisconsin": ("Hips Chest Neck Head", "{Left}{}", "UpLeg LowLeg Foot Toe Collar UpArm LowArm Hand Finger"),
    "BVHacker": ("Hips Chest Neck Head", "{Left}{}", "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist Finger"),
    "SOMA": ("Hips Chest Neck1 Head", "{Left}{}", "Leg Shin Foot ToeBase Shoulder Arm ForeArm Hand HandIndex1"),
    "Rokoko": ("Hips Spine2 Neck Head", "{Left}{}", "Thigh Shin Foot Toe Shoulder Arm ForeArm Hand Digit1"),
    "Kinect": ("SpineBase SpineMid Neck Head", "{}{Left}", "Hip Knee Ankle Foot Clavicle Shoulder Elbow Wrist Hand"),
    "OpenNI": (
        "TORSO_BASE TORSO# NECK# HEAD", "{LEFT}_{}",
        "HIP# KNEE FOOT FOOT_TIP COLLAR SHOULDER# ELBOW HAND FINGERTIP",
    ),
    "MocapNET": ("hip abdomen neck head", "{l}{}", "hip knee foot toe1-1 collar shoulder elbow hand thumb"),
    "OptiTrack Motive": ("Hip Ab Neck Head", "{L}{}", "Thigh Shin Foot Toe Shoulder UArm FArm Hand Index1"),
    "iPi": ("Hip MiddleSpine Neck Head", "{L}{}", "Thigh Shin Foot Toe Clavicle Shoulder Forearm Hand Finger0"),
    "Rigify": (
        "DEF-hips DEF-spine.001 DEF-neck DEF-head", "DEF-{}.{L}",
        "thigh shin foot toe shoulder upper_arm forearm hand f_index.01",
    ),
    "MakeHuman": (
        "root spine05 neck01 head", "{}.{L}",
        "upperleg01 lowerleg01 foot toe1-1 clavicle upperarm01 lowerarm01 wrist finger2-1",
    ),
    "Auto-Rig Pro": (
        "root.x spine_01.x neck.x head.x", "{}.{l}",
        "thigh_stretch leg_stretch foot toes_01 shoulder arm_stretch forearm_stretch hand index1",
    ),
    "Mixamo, underscore": (
        "mixamorig_Hips mixamorig_Spine1 mixamorig_Neck mixamorig_Head", "mixamorig_{Left}{}",
        "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand HandIndex1",
    ),
    "HumanIK": (
        "Character1_Hips Character1_Spine1 Character1_Neck Character1_Head", "Character1_{Left}{}",
        "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand HandIndex1",
    ),
    "DeepMotion": (
        "hips_JNT spine1_JNT neck_JNT head_JNT", "{l}_{}_JNT",
        "upleg leg foot toebase shoulder arm forearm hand handIndex1",
    ),
    "Momentum": ("b_root b_spine1 b_neck0 b_head", "b_{l}_{}", "upleg leg foot ball shoulder arm forearm wrist index1"),
    "MHR": ("root c_spine1 c_neck c_head", "{l}_{}", "upleg lowleg foot ball clavicle uparm lowarm wrist index1"),
    "VRM": (
        "J_Bip_C_Hips J_Bip_C_Chest J_Bip_C_Neck J_Bip_C_Head", "J_Bip_{L}_{}",
        "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand Index1",
    ),
    "Bandai Namco": (
        "Hips Spine Neck Head", "{}_{L}",
        "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand Finger",
    ),
    "Unity": (
        "hips chest neck head", "{left}{}",
        "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand IndexProximal",
    ),
    "Roblox": (
        "LowerTorso UpperTorso Neck Head", "{Left}{}",
        "UpperLeg LowerLeg Foot Toe Collar UpperArm LowerArm Hand Grip",
    ),
    "Source": (
        "ValveBiped.Bip01_Pelvis ValveBiped.Bip01_Spine2 ValveBiped.Bip01_Neck1 ValveBiped.Bip01_Head1",
        "ValveBiped.Bip01_{L}_{}", "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand Finger1",
    ),
    "3ds Max Biped": (
        "Bip001_Pelvis Bip001_Spine1 Bip001_Neck Bip001_Head", "Bip001_{L}_{}",
        "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand Finger0",
    ),
    "Unreal, fifth": (
        "pelvis spine_03 neck_01 head", "{}_{l}",
        "thigh calf foot ball clavicle upperarm lowerarm hand index_metacarpal",
    ),
    "SMPL, FBX": (
        "m_avg_Pelvis m_avg_Spine2 m_avg_Neck m_avg_Head", "m_avg_{L}_{}",
        "Hip Knee Ankle Foot Collar Shoulder Elbow Wrist Hand",
    ),
    "SMPL-X": ("pelvis spine2 neck head", "{left}_{}", "hip knee ankle foot collar shoulder elbow wrist index1"),
    "Second Life": (
        "mPelvis mTorso mNeck mHead", "m{}{Left}",
        "Hip Knee Ankle Foot Collar Shoulder Elbow Wrist HandIndex1",
    ),
    "Advanced Skeleton": (
        "Root_M Spine1_M Neck_M Head_M", "{}_{L}",
        "Hip Knee Ankle Toes Scapula Shoulder Elbow Wrist IndexFinger1",
    ),
    "MikuMikuDance": ("center upper_body neck head", "{}_{L}", "leg knee ankle toe shoulder arm elbow wrist fore1"),
    "Human3.6M": ("Hip Spine Thorax Head", "{L}{}", "Hip Knee Ankle Toe Collar Shoulder Elbow Wrist Finger"),
    "Vicon": ("pelvis thorax lowerneck head", "{l}{}", "femur tibia foot toes clavicle humerus radius hand fingers"),
    "Xsens": ("Pelvis T8 Neck Head", "{Left}{}", "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand Finger"),
    "Maya, lf and rt": (
        "hips_bind spine_bind neck_bind head_bind", "{lf}_{}_bind",
        "upleg loleg foot toe clav uparm loarm hand index1",
    ),
    "no separators": (
        "robothips robotspine robotneck robothead", "robot{left}{}",
        "thigh shin foot toe collar arm forearm hand finger",
    ),
    "words of four tools": (
        "Hips Spine Neck Head", "{Left}{}",
        "UpLeg Knee Foot Toe Clavicle Shoulder ForeArm Wrist Finger",
    ),
}  # fmt: skip


def named(spine: str, side: str, parts: str):
    """A body as ``skeleton`` makes it, with more ways to write the side."""
    spellings = {"{LEFT}": ("LEFT", "RIGHT"), "{left}": ("left", "right"), "{lf}": ("lf", "rt")}
    for spelling, (left, right) in spellings.items():
        if spelling in side:
            joints = skeleton(spine, side.replace(spelling, "{Left}"), parts)
            words = {"Left": left, "Right": right}
            return {
                _respelt(name, words): (_respelt(parent, words), offset) for name, (parent, offset) in joints.items()
            }
    return skeleton(spine, side, parts)


def _respelt(name: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        name = name.replace(old, new)
    return name


def read(folder: Path, joints, **options) -> MotionSequence:
    [sequence] = read_one(READER, folder / "a.bvh", write_bvh(joints, [{}, {}], **options))
    return sequence


def assert_joints(sequence: MotionSequence, expected) -> None:
    """These joints are here, and no others are."""
    assert sequence.keypoints_3d_TJC is not None
    for j, joint in enumerate(H36M17.joints):
        found = sequence.keypoints_3d_TJC[0, j]
        np.testing.assert_allclose(found, expected.get(joint, (0, 0, 0)), atol=1e-5, err_msg=joint)
        assert (sequence.confidence_TJ[:, j] == (joint in expected)).all(), joint


@pytest.mark.parametrize("tool", NAMES)
def test_the_joints_of_every_tool_are_found_and_guesses_are_said(tmp_path, tool):
    sequence = read(tmp_path, named(*NAMES[tool]))
    assert_joints(sequence, AT_REST)
    assert [each for each in sequence.repairs if not each.startswith("unit")] == GUESSES.get(tool, [])


GUESSES = {
    "Human3.6M": ["neck by its place in the rig: Thorax"],
    "no separators": [
        "neck by its place in the rig: robotneck",
        "nose by its place in the rig: robothead",
        "head by its place in the rig: robothead/end",
    ],
}


def renamed(names: dict[str, str], tool="SOMA"):
    """The rig of a tool in which some joints, or words of joints, are called something else."""
    return {
        _respelt(name, names): (_respelt(parent, names), offset)
        for name, (parent, offset) in skeleton(*NAMES[tool]).items()
    }


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        ({"ForeArm": "Unterarm"}, "lelbow by its place in the rig: LeftUnterarm"),
        ({"LeftArm": "LeftOberarm", "RightArm": "RightOberarm"}, "lshoulder by its place in the rig: LeftOberarm"),
        ({"Hand": "Grip"}, "lwrist by its place in the rig: LeftGrip"),
        ({"Leg": "Oberschenkel"}, "lhip by its place in the rig: LeftOberschenkel"),
        ({"Shin": "Unterschenkel"}, "lknee by its place in the rig: LeftUnterschenkel"),
    ],
)
def test_a_joint_without_a_known_word_is_found_between_its_neighbours_and_said(tmp_path, names, guess):
    joints = renamed(names)
    if "Hand" in names:
        joints = {name: value for name, value in joints.items() if "Index" not in name}
    sequence = read(tmp_path, joints)
    assert_joints(sequence, AT_REST)
    assert guess in sequence.repairs
    assert guess.replace("l", "r", 1).replace("Left", "Right") in sequence.repairs


GERMAN_ARMS = {
    "Shoulder": "Schulter", "ForeArm": "Unterarm", "LeftArm": "LeftOberarm", "RightArm": "RightOberarm",
    "Hand": "Griff",
}  # fmt: skip
GERMAN_LEGS = {"Leg": "Oberschenkel", "Shin": "Unterschenkel", "Foot": "Sohle"}


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        (GERMAN_ARMS, "arms by their two long bones, not by name: lshoulder = LeftOberarm, lelbow = LeftUnterarm, "),
        (
            GERMAN_LEGS,
            "legs by their two long bones, not by name: lhip = LeftOberschenkel, lknee = LeftUnterschenkel, ",
        ),
    ],
)
def test_limbs_without_any_known_word_are_found_by_their_long_bones_and_said(tmp_path, names, guess):
    sequence = read(tmp_path, renamed(names))
    assert_joints(sequence, AT_REST)
    assert any(repair.startswith(guess) for repair in sequence.repairs)


def test_limbs_that_are_there_and_cannot_be_told_are_refused_with_their_names(tmp_path):
    joints = renamed(GERMAN_ARMS)
    for side in ("Left", "Right"):  # a forearm no longer than the collar bone
        parent, (x, y, z) = joints[f"{side}Griff"]
        joints[f"{side}Griff"] = (parent, (x / 2, y, z))
    with pytest.raises(
        RecordingError, match=r"arms by names that we know.*LeftSchulter > LeftOberarm.*joint_map\.json"
    ):
        read(tmp_path, joints)


def test_a_rig_without_names_for_any_limb_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"head, neck, nose, root among the joints Hips.*joint_map\.json"):
        read(tmp_path, renamed(GERMAN_ARMS | GERMAN_LEGS))


def test_joints_that_a_rig_lacks_are_said(tmp_path):
    joints = skeleton(*NAMES["OptiTrack Motive"])
    arms = [name for name in joints if name.endswith(("UArm", "FArm", "Hand", "Index1", "Shoulder"))]
    sequence = read(tmp_path, {name: value for name, value in joints.items() if name not in arms})
    lacks = "no joint found for lshoulder, lelbow, lwrist, rshoulder, relbow, rwrist"
    assert lacks in sequence.repairs
    assert (sequence.confidence_TJ.sum(axis=1) == 11).all()


def test_a_collar_called_shoulder_is_no_upper_arm_where_another_joint_is(tmp_path):
    """Only the collar, the elbow and the hand have known words; the joint between is at the end of the short bone."""
    sequence = read(tmp_path, renamed({"LeftArm": "LeftOberarm", "RightArm": "RightOberarm"}))
    assert_joints(sequence, AT_REST)


TWISTS = {"Arm": "ArmRoll", "ForeArm": "ForeArmRoll", "UpLeg": "UpLegRoll", "Leg": "LegRoll"}


def test_twist_joints_in_the_middle_of_bones_are_passed_over(tmp_path):
    """As in Berkeley's MHAD: each long bone is cut in two by a joint called Roll."""
    joints = {}
    for name, (parent, (x, y, z)) in skeleton(*NAMES["HumanIK"]).items():
        bone = parent.removeprefix("Character1_Left").removeprefix("Character1_Right")
        if bone in TWISTS:
            roll = parent.removesuffix(bone) + TWISTS[bone]
            joints[roll] = (parent, (x / 2, y / 2, z / 2))
            parent, x, y, z = roll, x / 2, y / 2, z / 2
        joints[name] = (parent, (x, y, z))
    assert_joints(read(tmp_path, joints), AT_REST)


def test_the_second_halves_of_rigify_s_bones_are_passed_over(tmp_path):
    joints = {}
    halves = ("thigh", "shin", "upper_arm", "forearm")
    for name, (parent, (x, y, z)) in skeleton(*NAMES["Rigify"]).items():
        if parent.removeprefix("DEF-")[:-2] in halves:
            half = f"{parent}.001"
            joints[half] = (parent, (x / 2, y / 2, z / 2))
            parent, x, y, z = half, x / 2, y / 2, z / 2
        joints[name] = (parent, (x, y, z))
    assert_joints(read(tmp_path, joints), AT_REST)


def test_a_neck_and_a_head_that_are_numbers_of_the_spine_are_those_above_the_arms(tmp_path):
    """Rigify's own names; its face hangs on the head and its breasts on the chest."""
    names = {"DEF-hips": "DEF-spine", "DEF-neck": "DEF-spine.004", "DEF-head": "DEF-spine.006"}
    joints = renamed(names, tool="Rigify")
    joints |= {f"DEF-breast.{side}": ("DEF-spine.001", (x, 0.1, 0.1)) for side, x in (("L", 0.08), ("R", -0.08))}
    sequence = read(tmp_path, joints)
    assert_joints(sequence, AT_REST)
    assert "neck by its place in the rig: DEF-spine.004" in sequence.repairs


def test_joints_for_the_animator_s_use_are_not_taken_for_the_body_s(tmp_path):
    joints = skeleton(*NAMES["Unreal, fifth"])
    joints["ik_foot_root"] = ("pelvis", (0, -0.9, 0))
    for side, x in (("l", 0.3), ("r", -0.3)):
        joints[f"ik_foot_{side}"] = ("ik_foot_root", (x, 0, 0))
        joints[f"ik_hand_{side}"] = ("pelvis", (x, 0.3, 0))
    assert_joints(read(tmp_path, joints), AT_REST)


def test_rigify_s_original_bones_are_read_where_there_are_no_others(tmp_path):
    assert_joints(read(tmp_path, renamed({"DEF-": "ORG-"}, tool="Rigify")), AT_REST)
    both = renamed({}, tool="Rigify")
    both |= {f"ORG-thigh.{side}": ("DEF-hips", (x, -0.05, 0)) for side, x in (("L", 0.1), ("R", -0.1))}
    assert_joints(read(tmp_path, both), AT_REST)


def test_a_joint_whose_counterpart_is_missing_has_its_side(tmp_path):
    for tool, gone in (("MocapNET", "rhand"), ("Bandai Namco", "Hand_R"), ("Second Life", "mWristRight")):
        joints = {name: value for name, value in named(*NAMES[tool]).items() if name != gone}
        ends = {name for name, (parent, _) in joints.items() if parent == gone}
        sequence = read(tmp_path, {name: value for name, value in joints.items() if name not in ends})
        assert_joints(sequence, AT_REST | {"rwrist": np.add(AT_REST["relbow"], HEAD_END)})


def test_a_root_far_above_the_hips_is_no_pelvis(tmp_path):
    """OpenNI's rigs: all limbs start at the torso."""
    joints = named(*NAMES["OpenNI"])
    for side in ("LEFT", "RIGHT"):
        parent, (x, y, z) = joints[f"{side}_HIP#"]
        joints[f"{side}_HIP#"] = (parent, (x, y - 0.25, z))
    sequence = read(tmp_path, joints)
    assert sequence.keypoints_3d_TJC is not None
    np.testing.assert_allclose(sequence.keypoints_3d_TJC[0, H36M17.index("root")], (0, -0.3, 0), atol=1e-6)
    assert any(repair.startswith("root midway between the hips") for repair in sequence.repairs)
