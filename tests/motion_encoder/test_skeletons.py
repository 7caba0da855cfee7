"""Skeletons and conversions: laws of the tables, the published flip and joint sets."""

from pathlib import Path

import numpy as np
import pytest

from motion_encoder.skeletons import (
    COCO17_JOINTS,
    COCO17_TO_H36M17,
    H36M17,
    HALPE26_JOINTS,
    HALPE26_TO_H36M17,
    Conversion,
    Skeleton,
)

STICK = Skeleton(name="stick", joints=("foot", "lhand", "rhand"), parents=(-1, 0, 0), pairs=(("lhand", "rhand"),))


def test_h36m17_is_the_published_joint_set():
    named = {"root": 0, "rknee": 2, "lankle": 6, "neck": 8, "head": 10, "lwrist": 13, "rwrist": 16}
    assert {joint: H36M17.index(joint) for joint in named} == named
    published_limbs = {
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    }  # fmt: skip
    assert set(H36M17.bones) == published_limbs


def test_parents_come_before_their_children():
    assert all(parent < child for parent, child in H36M17.bones)


def test_flip_order_is_an_involution_that_mirrors_the_tree():
    order = np.array(H36M17.flip_order)
    assert (order[order] == np.arange(17)).all()
    assert {(order[parent], order[child]) for parent, child in H36M17.bones} == set(H36M17.bones)
    assert [H36M17.joints[i] for i in np.flatnonzero(order == np.arange(17))] == [
        "root", "belly", "neck", "nose", "head"
    ]  # fmt: skip


def test_equals_the_published_flip():
    with np.load(Path(__file__).parents[1] / "data" / "losses.npz", allow_pickle=False) as arrays:
        flipped = arrays["flip_in"][..., H36M17.flip_order, :]
        flipped[..., 0] *= -1
        np.testing.assert_array_equal(flipped, arrays["flip_out"])


@pytest.mark.parametrize("conversion", [COCO17_TO_H36M17, HALPE26_TO_H36M17], ids=["coco17", "halpe26"])
def test_weights_of_every_joint_sum_to_one(conversion):
    np.testing.assert_allclose(conversion.weights_JK.sum(axis=1), 1)
    assert (conversion.weights_JK >= 0).all()


@pytest.mark.parametrize("conversion", [COCO17_TO_H36M17, HALPE26_TO_H36M17], ids=["coco17", "halpe26"])
def test_conversions_keep_left_and_right(conversion):
    """Mirroring the source's labels mirrors the target's."""
    source = conversion.source_joints
    mirrored_name = {joint: {"l": "r", "r": "l"}[joint[0]] + joint[1:] for joint in source if joint[0] in "lr"}
    mirror = [source.index(mirrored_name.get(joint, joint)) for joint in source]
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


def test_a_fused_joint_is_as_sure_as_its_least_sure_part():
    confidence_TK = np.full((1, 17), 0.9)
    confidence_TK[0, COCO17_JOINTS.index("lhip")] = 0.2
    confidence = dict(zip(H36M17.joints, COCO17_TO_H36M17.confidence(confidence_TK)[0], strict=True))
    assert {joint for joint, value in confidence.items() if value == 0.2} == {"root", "lhip", "belly"}
    assert set(confidence.values()) == {0.2, 0.9}


def test_the_published_halpe26():
    """Positions, and confidences by the mean: ``halpe2h36m`` of the published code on AlphaPose's output."""
    with np.load(Path(__file__).parents[1] / "data" / "halpe.npz", allow_pickle=False) as arrays:
        halpe_TK3, expected_TJ3 = arrays["halpe26"], arrays["h36m17"]
    np.testing.assert_allclose(HALPE26_TO_H36M17.positions(halpe_TK3[..., :2]), expected_TJ3[..., :2], rtol=1e-6)
    mean_TJ = HALPE26_TO_H36M17.confidence(halpe_TK3[..., 2], fused="mean")
    np.testing.assert_allclose(mean_TJ, expected_TJ3[..., 2], rtol=1e-6)
    least_TJ = HALPE26_TO_H36M17.confidence(halpe_TK3[..., 2])
    others = np.arange(17) != H36M17.index("belly")
    np.testing.assert_array_equal(least_TJ[:, others], mean_TJ[:, others])
    assert (least_TJ[:, ~others] < mean_TJ[:, ~others]).all()


def test_an_absent_joint_is_at_zero_and_not_observed():
    conversion = Conversion(
        source_joints=("a", "b"), target=STICK, table={"foot": "b", "lhand": {"a": 0.25, "b": 0.75}}
    )
    positions = conversion.positions(np.array([[[4.0, 8.0], [0.0, 4.0]]]))
    np.testing.assert_allclose(positions, [[[0, 4], [1, 5], [0, 0]]])
    np.testing.assert_allclose(conversion.confidence(np.array([[0.5, 1.0]])), [[1.0, 0.5, 0.0]])
    np.testing.assert_allclose(conversion.confidence(np.array([[0.5, 1.0]]), fused="mean"), [[1.0, 0.875, 0.0]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tail": "a"}, "tail"),
        ({"foot": "z"}, "unknown source joints.*'z'"),
        ({"foot": {"a": 0.5, "b": 0.4}}, "do not sum to 1"),
    ],
)
def test_a_wrong_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        Conversion(source_joints=("a", "b"), target=STICK, table=table)
