"""A body of sticks that walks, stands, lies, crawls and stands on its hands, in worlds with different axes up."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.up_axis import AXES, axis_vector, find_up
from motion_encoder.skeletons import H36M17
from tests.datasets.bvh_files import AT_REST

UPRIGHT_J3 = np.add([AT_REST[joint] for joint in H36M17.joints], (0, 0.97, 0))
"""Metres, Y up, facing Z, ankles 0.08 above the floor."""
SEEN_TJ = np.ones((60, 17), bool)
ARMS = [H36M17.index(joint) for joint in ("lwrist", "rwrist", "lelbow", "relbow")]
SIGNED_AXES = [np.array(rows) for order in permutations(np.eye(3)) for rows in product(*((row, -row) for row in order))]
TURNS = [turn_33 for turn_33 in SIGNED_AXES if np.linalg.det(turn_33) > 0]
Z_UP_33 = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Turns a world with Y up into one with Z up."""


def moving(pose_J3=UPRIGHT_J3, *, by=(0.0, 0.0, 0.0), at=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Sixty frames of a pose that goes so far on the whole, its arms swinging by 0.3 m along Z."""
    points_TJ3 = pose_J3 + np.linspace(0, 1, 60)[:, None, None] * np.array(by) + np.array(at)
    points_TJ3[:, ARMS, 2] += 0.15 * np.sin(np.arange(60) / 3)[:, None]
    return points_TJ3


def on_the_back() -> np.ndarray:
    """The head to -Z, 0.1 above the floor."""
    x, y, z = UPRIGHT_J3.T
    return np.stack([x, z + 0.1, -y], axis=-1)


def on_all_fours() -> np.ndarray:
    """The trunk level at 0.5, the head to Z; shins and forearms on the floor."""
    x, y, _ = UPRIGHT_J3.T
    is_low = np.array([joint[1:] in ("knee", "ankle", "elbow", "wrist") for joint in H36M17.joints])
    return np.stack([x, np.where(is_low, 0.06, 0.5), y], axis=-1)


def on_the_hands() -> np.ndarray:
    """Upside down, the arms stretched to the floor."""
    x, y, z = UPRIGHT_J3.T
    pose_J3 = np.stack([x, -y, -z], axis=-1)
    for joint, below in (("elbow", 0.28), ("wrist", 0.53)):
        for side in "lr":
            shoulder_3 = pose_J3[H36M17.index(f"{side}shoulder")]
            pose_J3[H36M17.index(side + joint)] = shoulder_3 - (0, below, 0)
    return np.add(pose_J3, (0, 0.04 - pose_J3[:, 1].min(), 0))


def nearest_axis(direction_3: np.ndarray) -> str:
    return max(AXES, key=lambda axis: float(axis_vector(axis) @ direction_3))


@given(st.sampled_from(TURNS), st.sampled_from(AXES), st.tuples(*[st.floats(-3, 3)] * 2))
@settings(max_examples=100, deadline=None)
def test_people_who_walk_are_upright_whatever_axis_is_stated(turn_33, usual, place):
    """Whatever the rest pose says, if anything."""
    walk_TJ3 = moving(by=(0.9, 0.0, 1.3), at=(place[0], 0.0, place[1])) @ turn_33.T
    for rest in ("", usual, nearest_axis(turn_33[:, 1])):
        assert find_up(walk_TJ3, SEEN_TJ, usual=usual, agreeing=rest).axis == nearest_axis(turn_33[:, 1])


@pytest.mark.parametrize("rest", ["", "+Y"])
@pytest.mark.parametrize("place", [(0, 0, 0), (1.3, 0, -0.7), (0, 0, 0.5), (0, 0, 1.8)])
@pytest.mark.parametrize("way", [(0, 0, 0), (0, 0, 1.5), (1.5, 0, 0)])
@pytest.mark.parametrize("pose", [on_the_back, on_all_fours, on_the_hands])
def test_people_who_are_not_upright_are_not_turned(pose, way, place, rest):
    assert find_up(moving(pose(), by=way, at=place), SEEN_TJ, usual="+Y", agreeing=rest).axis == "+Y"


@pytest.mark.parametrize("pose", [on_the_back, on_all_fours])
def test_a_rest_pose_along_another_axis_does_not_stand_up_people_on_a_floor(pose):
    """As in rigs whose offsets have Z up below a root that turns them."""
    lying_TJ3 = moving(pose(), at=(0, 0, 1.8))
    for rest in ("+Z", "-Z"):
        assert find_up(lying_TJ3, SEEN_TJ, usual="+Y", agreeing=rest).axis == "+Y"


def test_people_who_stand_in_one_place_are_upright_where_no_floor_contradicts():
    standing_TJ3 = moving(at=(0.4, 0, -1.2)) @ Z_UP_33.T  # the wrists are 1.2 - 0.15 m from the other floor
    assert find_up(standing_TJ3, SEEN_TJ, usual="+Y", agreeing="+Y").axis == "+Z"


def test_of_two_floors_the_usual_one_is_kept_and_the_doubt_is_said():
    still_TJ3 = np.repeat(UPRIGHT_J3[None] - (0, 0, 0.1), 60, axis=0)
    up = find_up(still_TJ3 @ Z_UP_33.T, SEEN_TJ, usual="+Y", agreeing="+Y")
    assert (up.axis, up.rival) == ("+Y", "+Z")


def test_without_a_floor_the_posture_counts():
    """The root stays at the origin while the body moves: coordinates relative to it."""
    centred_TJ3 = moving() - UPRIGHT_J3[0]
    assert find_up(centred_TJ3 @ Z_UP_33.T, SEEN_TJ, usual="+Y", agreeing="+Y").axis == "+Z"
    assert find_up(centred_TJ3, SEEN_TJ, usual="+Y", agreeing="+Y").axis == "+Y"


def test_a_pose_that_does_not_move_is_turned_by_its_rest_pose_alone():
    still_TJ3 = np.repeat(UPRIGHT_J3[None] - (0, 0.97, 0), 60, axis=0) @ Z_UP_33.T
    assert find_up(still_TJ3, SEEN_TJ, usual="+Y", agreeing="+Z").axis == "+Z"
    assert find_up(still_TJ3, SEEN_TJ, usual="+Y", agreeing="+Y").axis == "+Y"


def test_people_upside_down_in_all_frames_live_in_a_world_whose_axis_points_down():
    """Coordinates of a camera: y down."""
    assert find_up(moving(at=(0, 0, 3)) * (1, -1, -1), SEEN_TJ, usual="+Y").axis == "-Y"


def test_legs_tell_where_there_is_no_neck_and_unseen_joints_tell_nothing():
    seen_TJ = SEEN_TJ.copy()
    seen_TJ[:, [H36M17.index(joint) for joint in ("neck", "nose", "head")]] = False
    walk_TJ3 = np.where(seen_TJ[..., None], moving(by=(1, 0, 1)) @ Z_UP_33.T, 0.0)
    assert find_up(walk_TJ3, seen_TJ, usual="+Y").axis == "+Z"
    assert find_up(walk_TJ3, np.zeros_like(seen_TJ), usual="+Y").axis == "+Y"
