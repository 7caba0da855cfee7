"""Skeletons and conversions: laws of the tables, the published flip and joint sets."""

from pathlib import Path

import numpy as np
import pytest

from motion_encoder.skeletons import H36M17, Conversion, Skeleton

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


TWO_HANDS = Conversion(source_joints=("a", "b"), target=STICK, table={"foot": "b", "lhand": {"a": 0.25, "b": 0.75}})


def test_a_fused_joint_is_as_sure_as_its_least_sure_part():
    np.testing.assert_array_equal(TWO_HANDS.confidence(np.array([[0.2, 0.9]])), [[0.9, 0.2, 0]])


def test_an_absent_joint_is_at_zero_and_not_observed():
    positions, confidence = TWO_HANDS.convert(np.array([[[4.0, 8.0], [0.0, 4.0]]]), np.array([[0.5, 1.0]]))
    np.testing.assert_allclose(positions, [[[0, 4], [1, 5], [0, 0]]])
    np.testing.assert_allclose(confidence, [[1.0, 0.5, 0.0]])


@pytest.mark.parametrize("unseen", [(4.0, 8.0), (np.nan, 1.0), (np.inf, -np.inf)])
def test_a_part_that_is_not_seen_makes_its_joint_absent_and_no_other(unseen):
    positions, confidence = TWO_HANDS.convert(np.array([[unseen, (0.0, 4.0)]]), np.array([[0.0, 1.0]]))
    np.testing.assert_array_equal(positions, [[[0, 4], [0, 0], [0, 0]]])
    np.testing.assert_array_equal(confidence, [[1, 0, 0]])


def test_conversions_keep_the_type_of_numbers():
    positions, confidence = TWO_HANDS.convert(np.ones((1, 2, 3), np.float32), np.ones((1, 2), np.float32))
    assert positions.dtype == confidence.dtype == np.float32


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
