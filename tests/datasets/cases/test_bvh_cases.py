"""BVH files of other people on which an earlier version erred: ``MOTION_CASES``, or ``../shared/cases``; else skipped.

The right values were computed by others, with their own forward kinematics; each folder's README gives them. Tests on
files of our own with the same properties stand in tests/datasets/joints and tests/datasets/readers/mocap.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.quality.checks import judge
from datasets.readers.mocap.bvh import READER
from datasets.sequences import File, MotionSequence
from motion_encoder.skeletons import H36M17
from tests.conftest import CHECKOUT

CASES = Path(os.environ.get("MOTION_CASES", CHECKOUT.parent / "shared" / "cases"))
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no cases: set MOTION_CASES to a folder of them")

WALK = {"root": (0, 1.0351, 0), "lankle": (0.0461, 0.1237, -0.2467)}
HEAD = {"nose": (0.0177, 1.6916, 0.0164)}
ARMS = {"lshoulder": (0.2005, 1.5068, -0.0049), "lelbow": (0.2662, 1.2201, -0.027), "lwrist": (0.2471, 0.9804, 0.0264)}
WALK_ON_37 = {
    "root": (-0.1474, 0.9639, -1.6591), "lhip": (-0.0607, 0.9633, -1.6679), "rhip": (-0.2341, 0.9645, -1.6503),
    "lankle": (0.0249, 0.1256, -1.5063), "nose": (-0.1313, 1.4764, -1.6422),
}  # fmt: skip


def read(name: str) -> MotionSequence:
    path = CASES / name
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    [sequence] = READER.read(recording)
    return sequence


def points_of(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_3d_TJC is not None
    return sequence.keypoints_3d_TJC


@pytest.mark.parametrize(
    ("name", "fps", "num_frames", "frame", "expected"),
    [
        ("01-bvh-zup-motion-yup-rest/walk.bvh", 24, 24, 0, WALK | HEAD),
        ("03-bvh-feet-end-straight-down/walk.bvh", 30, 59, 0, WALK_ON_37),
        ("06-bvh-hip-knee-foot-names/walk.bvh", 24, 20, 0, WALK | {"lwrist": ARMS["lwrist"]}),
        *(
            (f"08-bvh-names-of-public-rigs/{rig}.bvh", 24, 20, 0, WALK | {"rwrist": (-0.2907, 0.9682, 0.0177)})
            for rig in ("wisc", "soma", "kinect", "rigify")
        ),
        ("10-bvh-arms-lost/walk.bvh", 24, 20, 0, WALK | ARMS),
        ("11-bvh-positions-instead-of-offsets/walk.bvh", 24, 20, 0, WALK | HEAD),
        *(
            (f"28-bvh-text/{text}.bvh", 24, 20, 0, WALK | HEAD)
            for text in ("comment", "ctrlz", "endsite_upper", "lower_kw", "nul_tail")
        ),
    ],
)
def test_positions_are_those_that_others_computed(name, fps, num_frames, frame, expected):
    sequence = read(name)
    assert (sequence.fps, sequence.num_frames) == (fps, num_frames)
    for joint, xyz in expected.items():
        np.testing.assert_allclose(points_of(sequence)[frame, H36M17.index(joint)], xyz, atol=0.00011, err_msg=joint)
    absent = {joint for j, joint in enumerate(H36M17.joints) if not sequence.confidence_TJ[:, j].all()}
    assert absent == ({"head"} if "positions" in name else set())  # the end sites of that file have no offset
    assert judge(sequence).problems == ()


def test_a_walk_in_a_world_with_z_up_stays_upright():
    points_TJ3 = points_of(read("01-bvh-zup-motion-yup-rest/walk.bvh"))
    ankles = [H36M17.index("lankle"), H36M17.index("rankle")]
    height_T = points_TJ3[:, H36M17.index("nose"), 1] - points_TJ3[:, ankles, 1].min(axis=1)
    assert height_T.min() > 1.505
    assert height_T.max() < 1.595


def test_the_rigs_with_other_names_have_one_motion():
    rigs = ("wisc", "soma", "kinect", "rigify")
    first, *others = (points_of(read(f"08-bvh-names-of-public-rigs/{rig}.bvh")) for rig in rigs)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_the_inserted_pose_is_dropped_and_said():
    sequence = read("05-bvh-inserted-t-pose-stays/10_02.bvh")
    assert sequence.num_frames == 29
    assert any("inserted" in repair for repair in sequence.repairs)
    steps_TJ = np.linalg.norm(np.diff(points_of(sequence), axis=0), axis=-1)
    assert steps_TJ.max() * sequence.fps < 3  # the T-pose was left at 24.9 m/s


def test_cmu_s_names_in_metres():
    """Frame 5 of the file; nothing is inserted in it."""
    sequence = read("12-bvh-cmu-names-in-metres/kick.bvh")
    expected = {"root": (0, 1, 0), "lankle": (0.3597, 0.1439, 0.1011)}
    for joint, xyz in expected.items():
        np.testing.assert_allclose(points_of(sequence)[5, H36M17.index(joint)], xyz, atol=0.0001, err_msg=joint)
    assert judge(sequence).problems == ()


def test_a_body_that_is_no_human_is_quarantined():
    problems = judge(read("34-bvh-body-that-is-no-human/creature.bvh")).problems
    assert any(str(problem).startswith("arm: expected 0.25 to 0.9 m, found 1.08 m") for problem in problems)
