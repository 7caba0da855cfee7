"""The shared joint tables: as published, left kept left, and what counts as a position."""

import numpy as np
import pytest

from datasets.joints.kinect import V1_TO_H36M17
from datasets.joints.tables import (
    BODY25_TO_H36M17,
    COCO17_JOINTS,
    COCO17_TO_H36M17,
    HALPE26_JOINTS,
    HALPE26_TO_H36M17,
    MPII16_TO_H36M17,
    OPENPOSE18_TO_H36M17,
    SMPL24_TO_H36M17,
    to_canonical,
)
from motion_encoder.skeletons import H36M17

TABLES = {
    "coco17": COCO17_TO_H36M17,
    "halpe26": HALPE26_TO_H36M17,
    "openpose18": OPENPOSE18_TO_H36M17,
    "body25": BODY25_TO_H36M17,
    "mpii16": MPII16_TO_H36M17,
    "smpl24": SMPL24_TO_H36M17,
}


def mirrored_name(joint: str) -> str:
    for one, other in (("left_", "right_"), ("right_", "left_"), ("l", "r"), ("r", "l")):
        if joint.startswith(one):
            return other + joint.removeprefix(one)
    return joint


@pytest.mark.parametrize("conversion", TABLES.values(), ids=TABLES)
def test_conversions_keep_left_and_right(conversion):
    """Mirroring the source's labels mirrors the target's."""
    source = conversion.source_joints
    mirror = [source.index(mirrored_name(joint)) for joint in source]
    mirrored = conversion.weights_JK[list(H36M17.flip_order)][:, mirror]
    np.testing.assert_allclose(mirrored, conversion.weights_JK)


@pytest.mark.parametrize(
    ("conversion", "expected"),
    [
        # The published table of joint indices, per joint of h36m17.
        (COCO17_TO_H36M17, [(11, 12), 12, 14, 16, 11, 13, 15, (5, 6, 11, 12), (5, 6), 0, (1, 2), 5, 7, 9, 6, 8, 10]),
        (HALPE26_TO_H36M17, [19, 12, 14, 16, 11, 13, 15, (18, 19), 18, 0, 17, 5, 7, 9, 6, 8, 10]),
    ],
    ids=["coco17", "halpe26"],
)
def test_conversions_are_the_published_tables(conversion, expected):
    source_TK2 = np.random.default_rng(0).normal(size=(3, len(conversion.source_joints), 2)).astype(np.float32)
    by_hand = np.stack([source_TK2[:, np.atleast_1d(parts)].mean(axis=1) for parts in expected], axis=1)
    converted = conversion.positions(source_TK2)
    assert converted.dtype == np.float32
    np.testing.assert_allclose(converted, by_hand, rtol=1e-5, atol=1e-6)


def test_joint_names_of_the_detectors():
    assert len(COCO17_JOINTS) == 17
    assert len(HALPE26_JOINTS) == 26
    assert HALPE26_JOINTS[17:20] == ("head", "neck", "hip")


@pytest.mark.parametrize("lost", [(0.0, 0.0, 0.0), (np.nan, 1.0, 1.0), (1.0, np.inf, 1.0), (1.0, 1e300, 1.0)])
def test_lost_joints_are_absent_and_spoil_no_other(lost):
    positions = np.ones((1, 20, 3))
    positions[0, 3] = lost  # the head, half of the nose
    moved, confidence = to_canonical(V1_TO_H36M17, positions, np.ones((1, 20)))
    absent = [H36M17.index("nose"), H36M17.index("head")]
    np.testing.assert_array_equal(np.flatnonzero(confidence[0] == 0), absent)
    assert not moved[0, absent].any()
    np.testing.assert_array_equal(np.delete(moved[0], absent, axis=0), np.ones((15, 3)))


def test_a_fused_joint_is_as_sure_as_its_least_sure_part():
    certain = np.ones((1, 20))
    certain[0, 3] = 0.25
    _, confidence = to_canonical(V1_TO_H36M17, np.ones((1, 20, 3)), certain)
    assert confidence[0, H36M17.index("nose")] == 0.25
    assert confidence[0, H36M17.index("neck")] == 1
