"""What BVH files leave out or state wrongly: unit, up axis, sides, inserted poses. Places are added up by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.files import list_files
from datasets.readers.mocap.bvh import READER
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.bvh_files import AT_REST, body, write_bvh
from tests.datasets.reading import metres, read_one


def read(folder: Path, content: bytes) -> MotionSequence:
    [sequence] = read_one(READER, folder / "a.bvh", content)
    return sequence


def assert_joints(sequence: MotionSequence, expected, frame=0) -> None:
    for joint, xyz in expected.items():
        np.testing.assert_allclose(metres(sequence)[frame, H36M17.index(joint)], xyz, atol=1e-5, err_msg=joint)


# ---------------------------------------------------------------- units

AT_REST_BUT_HEAD = {joint: xyz for joint, xyz in AT_REST.items() if joint != "head"}


def test_bones_may_stand_in_the_position_channels_alone(tmp_path):
    """As FBX converters write them: every OFFSET is 0. End sites have no channels: no top of the head is known."""
    sequence = read(tmp_path, write_bvh(frames=[{}, {}], unit=100, positions="offsets", offsets=False))
    assert_joints(sequence, AT_REST_BUT_HEAD)
    assert "unit not stated: cm by human proportions" in sequence.repairs
    assert "end sites without an offset left out: head" in sequence.repairs
    assert sequence.confidence_TJ[0, H36M17.index("head")] == 0


def test_position_channels_that_are_all_zero_mean_the_offsets(tmp_path):
    sequence = read(tmp_path, write_bvh(frames=[{}, {"root": (0, 1, 0)}], unit=100, positions="zeros"))
    assert_joints(sequence, AT_REST)
    assert "position channels of the joints are all 0: offsets taken instead" in sequence.repairs


def test_a_body_without_any_length_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(RecordingError, match=r"no bone has a length.*\"unit_m\": 0.01"):
        read(tmp_path, write_bvh(positions="zeros", offsets=False))


CMU = {
    "Hips": ("", (0, 0, 0)), "LHipJoint": ("Hips", (0, 0, 0)), "LowerBack": ("Hips", (0, 0, 0)),
    "Spine": ("LowerBack", (0, 0.12, 0)), "Spine1": ("Spine", (0, 0.12, 0)), "Neck": ("Spine1", (0, 0.12, 0)),
    "Neck1": ("Neck", (0, 0.1, 0)), "Head": ("Neck1", (0, 0.1, 0)),
    "LeftShoulder": ("Spine1", (0, 0.12, 0)), "RightShoulder": ("Spine1", (0, 0.12, 0)),
    **{
        f"{side}{part}": (side + parent if parent != "Hips" else parent, (sign * x, y, 0))
        for side, sign in (("Left", 1), ("Right", -1))
        for part, parent, (x, y) in (
            ("UpLeg", "Hips", (0.1, -0.05)), ("Leg", "UpLeg", (0, -0.42)), ("Foot", "Leg", (0, -0.42)),
            ("Arm", "Shoulder", (0.18, 0)), ("ForeArm", "Arm", (0.28, 0)), ("Hand", "ForeArm", (0.25, 0)),
        )
    },
}  # fmt: skip
CMU_UNIT_M = 0.0254 / 0.45


@pytest.mark.parametrize(
    ("unit_m", "said"),
    [(CMU_UNIT_M, None), (1.0, "m"), (0.01, "cm"), (0.001, "mm"), (0.0254, "inch")],
)
def test_the_names_of_cmu_do_not_fix_the_unit_where_the_body_contradicts(tmp_path, unit_m, said):
    sequence = read(tmp_path, write_bvh(CMU, frames=[{}, {}], unit=1 / unit_m))
    assert_joints(sequence, {"lankle": (0.1, -0.89, 0), "lwrist": (0.71, 0.36, 0)})
    assert [repair for repair in sequence.repairs if "unit" in repair] == (
        [f"unit not stated: {said} by human proportions"] if said else []
    )


def test_arms_tell_the_unit_of_a_rig_without_legs(tmp_path):
    joints = {name: value for name, value in body().items() if "Leg" not in name and "Foot" not in name}
    arms = {joint: xyz for joint, xyz in AT_REST.items() if joint[1:] not in ("hip", "knee", "ankle")}
    sequence = read(tmp_path, write_bvh(joints, frames=[{}, {}], unit=100))  # .53 of arm are .332 of 1.60
    assert_joints(sequence, arms)
    assert "unit not stated: cm by human proportions" in sequence.repairs


# ---------------------------------------------------------------- up axis


def walk(num_frames=30, way=(0, 0, 1), *, lift=20.0):
    """The root goes a metre along ``way`` at 0.97 above the floor, the legs swing about x."""
    for n in range(num_frames):
        swing = lift * np.sin(n / 3)
        yield {
            "root": tuple(np.multiply(way, n / num_frames) + np.array([0, 0.97, 0])),
            "LeftUpLeg": (0, swing, 0),
            "RightUpLeg": (0, -swing, 0),
        }


def z_up(frame):
    """The same frame in a world with Z up, on the same rest pose along Y: x, -z, y, and a root turned about x."""
    x, y, z = frame["root"]
    return frame | {"root": (x, -z, y), "Hips": (0, 90, 0)}


def test_a_world_with_z_up_is_told_by_the_motion_where_the_rest_pose_stands_along_y(tmp_path):
    """As converters of SMPL and AMASS write it."""
    expected = read(tmp_path, write_bvh(frames=list(walk())))
    sequence = read(tmp_path, write_bvh(frames=[z_up(frame) for frame in walk()]))
    np.testing.assert_allclose(metres(sequence), metres(expected), atol=1e-5)
    assert "turned from +Z up to Y up" in sequence.repairs
    assert "up axis +Z, not +Y: people stand along it, on a steady floor" in sequence.repairs
    assert not any("up" in repair for repair in expected.repairs)


def test_a_map_that_states_the_axis_decides_and_needs_no_joints(tmp_path):
    (tmp_path / "joint_map.json").write_text('{"up": "+Y", "unit_m": 1}')
    content = write_bvh(frames=[z_up(frame) for frame in walk()])
    (tmp_path / "a.bvh").write_bytes(content)
    [recording] = READER.find(list_files(str(tmp_path)))
    [sequence] = READER.read(recording)
    assert_joints(sequence, {"root": (0, 0, 0.97), "neck": (0, 0, 1.47)})
    assert sequence.repairs == ()


# ---------------------------------------------------------------- sides


def feet(toe, heel=None):
    joints = body()
    for side in ("Left", "Right"):
        if heel:
            joints[f"{side}Heel"] = (f"{side}Foot", heel)
        if toe:
            joints[f"{side}Toe"] = (f"{side}Foot", toe)
    return joints


def mirrored(joints):
    return {name: (parent, (-x, y, z)) for name, (parent, (x, y, z)) in joints.items()}


LEANING = [{"LeftUpLeg": (0, 30, 0), "RightUpLeg": (0, 30, 0), "LeftLeg": (0, 5, 0)}] * 4


def test_an_end_site_straight_below_the_ankle_says_nothing_of_front_and_back(tmp_path):
    """The shins lean to the back, and with them what lies straight below; knees that are hardly bent say nothing."""
    assert_joints(read(tmp_path, write_bvh(feet((0, -0.08, 0)), LEANING)), {"lhip": AT_REST["lhip"]})


def test_a_joint_map_is_enough_where_the_feet_say_nothing(tmp_path):
    names = {"root": "Hips", "neck": "Neck"}
    for side, word in (("l", "Left"), ("r", "Right")):
        names |= {f"{side}hip": f"{word}UpLeg", f"{side}knee": f"{word}Leg", f"{side}ankle": f"{word}Foot"}
    (tmp_path / "joint_map.json").write_text(json.dumps({"joints": names}))
    (tmp_path / "a.bvh").write_bytes(write_bvh(feet((0, -0.08, 0)), LEANING))
    [recording] = READER.find(list_files(str(tmp_path)))
    [sequence] = READER.read(recording)
    assert_joints(sequence, {joint: AT_REST[joint] for joint in ("root", "neck", "lhip", "rhip")})


def test_the_toes_count_and_not_the_heel(tmp_path):
    assert_joints(read(tmp_path, write_bvh(feet((0, -0.05, 0.15), heel=(0, -0.05, -0.05)))), AT_REST)
    with pytest.raises(RecordingError, match="left and right"):
        read(tmp_path, write_bvh(mirrored(feet((0, -0.05, 0.15), heel=(0, -0.05, -0.05)))))


def test_knees_that_bend_to_the_front_outweigh_feet_that_point_back(tmp_path):
    bent = [{"LeftUpLeg": (0, -50, 0), "LeftLeg": (0, 80, 0), "RightLeg": (0, 60, 0)}] * 4
    backward = feet((0, -0.05, -0.15))
    assert_joints(read(tmp_path, write_bvh(backward, bent)), {"lhip": AT_REST["lhip"]})
    with pytest.raises(RecordingError, match="left and right"):
        read(tmp_path, write_bvh(backward))


# ---------------------------------------------------------------- inserted poses

ARMS_DOWN = {"LeftArm": (-80, 0, 0), "RightArm": (80, 0, 0)}
A_POSE = {"LeftArm": (-45, 0, 0), "RightArm": (45, 0, 0)}


def standing(num_frames, lower=ARMS_DOWN):
    return [lower | {"root": (0, 0.97, 0.001 * n), "LeftForeArm": (0, 0.5 * n, 0)} for n in range(num_frames)]


@pytest.mark.parametrize("num_inserted", [1, 3])
@pytest.mark.parametrize("pose", [{}, {"root": (0, 0.97, 0), "Hips": (0, 0, 20), "LeftUpLeg": (3, 0, 0)}])
def test_a_pose_that_no_person_leaves_so_fast_is_dropped_on_any_rig_and_said(tmp_path, pose, num_inserted):
    sequence = read(tmp_path, write_bvh(frames=[pose] * num_inserted + standing(10)))
    assert sequence.num_frames == 10
    assert f"{num_inserted} inserted rest frames dropped from the start" in sequence.repairs
    assert_joints(sequence, {"root": (0, 0.97, 0)})


def test_a_rest_pose_that_is_no_t_pose_is_dropped_too(tmp_path):
    joints = body()
    for side, sign in (("Left", 1), ("Right", -1)):
        joints[f"{side}ForeArm"] = (f"{side}Arm", (sign * 0.2, -0.2, 0))
        joints[f"{side}Hand"] = (f"{side}ForeArm", (sign * 0.18, -0.18, 0))
    raised = {"LeftArm": (130, 0, 0), "RightArm": (-130, 0, 0)}
    assert read(tmp_path, write_bvh(joints, frames=[{}, *standing(10, raised)])).num_frames == 10


def test_a_t_pose_that_people_leave_at_their_own_speed_is_theirs(tmp_path):
    lowering = [
        {"root": (0, 0.97, 0), "LeftArm": (-4 * n, 0, 0), "RightArm": (4 * n, 0, 0)} for n in range(20)
    ]  # 4 degrees a frame at 30 Hz: 1.1 m/s at the wrist
    sequence = read(tmp_path, write_bvh(frames=lowering))
    assert sequence.num_frames == 20
    assert not any("inserted" in repair for repair in sequence.repairs)


def test_a_jump_from_another_pose_is_not_taken_for_an_inserted_one(tmp_path):
    assert read(tmp_path, write_bvh(frames=[A_POSE, *standing(10)])).num_frames == 11


def test_a_cut_after_a_real_stretch_in_a_t_pose_is_left_alone(tmp_path):
    swaying = [{"root": (0, 0.97, 0.002 * n), "LeftArm": (0.3 * n, 0, 0)} for n in range(8)]
    assert read(tmp_path, write_bvh(frames=[*swaying, *standing(10)])).num_frames == 18
