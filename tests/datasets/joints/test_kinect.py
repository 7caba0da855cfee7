"""Kinect's joints as the canonical seventeen: each where Microsoft's tables put it."""

import numpy as np
import pytest

from datasets.joints.kinect import V1_TO_H36M17, V2_TO_H36M17, v1_conversion
from datasets.joints.tables import to_canonical
from motion_encoder.skeletons import H36M17

# Microsoft's JointType and _NUI_SKELETON_POSITION_INDEX, by number; the mean of two where two are named.
LIMBS = {"lshoulder": (4,), "lelbow": (5,), "lwrist": (6,), "rshoulder": (8,), "relbow": (9,), "rwrist": (10,),
         "lhip": (12,), "lknee": (13,), "lankle": (14,), "rhip": (16,), "rknee": (17,), "rankle": (18,)}  # fmt: skip
V1 = {"root": (0,), "belly": (1,), "neck": (2,), "nose": (2, 3), "head": (3,), **LIMBS}
V2 = {"root": (0,), "belly": (1,), "neck": (20,), "nose": (2,), "head": (3,), **LIMBS}


@pytest.mark.parametrize(("conversion", "table"), [(V1_TO_H36M17, V1), (V2_TO_H36M17, V2)])
def test_each_joint_comes_from_its_number(conversion, table):
    joints = len(conversion.source_joints)
    positions = np.arange(1, 1 + joints * 3, dtype=np.float64).reshape(1, joints, 3)
    moved, confidence = to_canonical(conversion, positions, np.ones((1, joints)))
    for joint, numbers in table.items():
        np.testing.assert_allclose(moved[0, H36M17.index(joint)], positions[0, list(numbers)].mean(axis=0))
    assert set(table) == set(H36M17.joints)
    assert (confidence == 1).all()


def test_another_order_of_the_same_joints_gives_the_same():
    turned = tuple(reversed(V1_TO_H36M17.source_joints))
    positions = np.random.default_rng(0).normal(size=(2, 20, 3))
    ones = np.ones((2, 20))
    np.testing.assert_array_equal(
        to_canonical(v1_conversion(turned), positions[:, ::-1], ones)[0], to_canonical(V1_TO_H36M17, positions, ones)[0]
    )
