"""The places of Human3.6M's cameras against the data set's metadata.xml, and triangulation against hand-made rays."""

import itertools

import numpy as np
import pytest

from datasets.readers.mocap.h36m import CAMERAS, Camera
from datasets.readers.mocap.h36m_cameras import PlacedCamera, disagreement, placed_camera, triangulate, upright
from tests.datasets import h36m_body
from tests.datasets.h36m_body import PLACES, seen_in_room, turn, walk_in_room

PEOPLE = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
LENS = Camera(image_size=(1000, 1000), focal=(1000.0, 1000.0), centre=(500.0, 500.0))
CENTRE = np.full((1, 1, 2), 500.0)
AT_ORIGIN = PlacedCamera(lens=LENS, axes=np.eye(3), place=np.zeros(3))
# Looks along the room's -x; its own x is the room's z, its y the room's y.
FROM_THE_SIDE = PlacedCamera(
    lens=LENS, axes=np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), place=np.array([1.0, 0.02, 5.0])
)


def placed(person: str, camera: str) -> PlacedCamera:
    found = placed_camera(person, camera)
    assert found is not None
    return found


@pytest.mark.parametrize(("person", "camera"), PLACES)
def test_cameras_stand_where_the_data_set_says(person, camera):
    *angles, x, y, z = PLACES[person, camera]
    ours = placed(person, camera)
    np.testing.assert_allclose(ours.axes.T, turn(*angles), atol=2e-7)
    np.testing.assert_allclose(ours.place * 1000, [x, y, z], atol=1e-3)


@pytest.mark.parametrize(("person", "camera"), list(itertools.product(PEOPLE, CAMERAS)))
def test_all_cameras_look_at_the_middle_of_the_room_from_head_height(person, camera):
    ours = placed(person, camera)
    np.testing.assert_allclose(ours.axes.T @ ours.axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(ours.axes) == pytest.approx(1)
    assert 1.4 < ours.place[2] < 1.7
    middle = ours.from_room(np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.5]]]))
    assert 4 < middle[0, 0, 2] < 6
    [[low, high]] = ours.lens.project(middle)
    assert np.linalg.norm(low - np.array(ours.lens.centre)) < 250
    assert high[1] < low[1] - 80  # up in the room is up in the image


@pytest.mark.parametrize(("person", "camera"), PLACES)
def test_a_camera_s_axes_are_turned_upright_by_no_more_than_it_is_tilted(person, camera):
    """Y is the height above the lens, as the room says it; all distances stay; the heading is the camera's."""
    room = np.random.default_rng(0).uniform([-1, -1, 0], [1, 1, 2], (5, 17, 3))
    own = seen_in_room(room, person, camera)
    found, said = upright(own, person, camera)
    assert said == ()
    np.testing.assert_allclose(found[..., 1], room[..., 2] - PLACES[person, camera][5] / 1000, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.linalg.norm(own, axis=-1), rtol=1e-6)
    np.testing.assert_allclose(found, h36m_body.upright(own, person, camera), atol=1e-5)
    rotation = placed(person, camera).to_upright
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    tilt = np.arccos(-turn(*PLACES[person, camera][:3])[1, 2])  # between the room's up and the image's
    assert np.degrees(tilt) == pytest.approx(13.5, abs=3)
    angle = np.arccos((np.trace(rotation * [1, -1, -1]) - 1) / 2)
    assert angle == pytest.approx(tilt, abs=1e-6)


@pytest.mark.parametrize(("person", "camera"), PLACES)
def test_somebody_upright_in_the_room_is_upright(person, camera):
    found, _ = upright(seen_in_room(walk_in_room(3), person, camera), person, camera)
    root, neck = found[:, 0], found[:, 8]
    np.testing.assert_allclose(neck - root, np.tile([0, 0.5, 0], (3, 1)), atol=1e-6)


@pytest.mark.parametrize(("person", "camera"), list(itertools.product(PEOPLE, CAMERAS)))
def test_all_cameras_give_one_motion_but_for_a_turn_about_y(person, camera):
    """The walk goes 36 mm a frame on level ground, and the thorax does not move against the hips."""
    ours = placed(person, camera)
    found, _ = upright(ours.from_room(walk_in_room(4)), person, camera)
    np.testing.assert_allclose(np.diff(found[..., 1], axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(np.diff(found, axis=0), axis=-1), np.hypot(0.03, 0.02), atol=1e-6)


def test_without_the_camera_s_place_its_own_axes_are_kept_and_it_is_said():
    found, said = upright(np.array([[[1.0, 2.0, 3.0]]]), "S2", "54138969")
    np.testing.assert_array_equal(found, [[[1, -2, -3]]])
    assert said == ("up is the camera's, more than ten degrees off: how it stood is not known",)


def test_nobody_knows_the_cameras_of_people_without_poses():
    assert placed_camera("S2", "54138969") is None
    assert placed_camera("S1", "1") is None


def test_rays_that_miss_each_other_meet_in_the_middle():
    """The z axis, and a line along x at y = 20 mm and z = 5 m."""
    point = triangulate([AT_ORIGIN, FROM_THE_SIDE], [CENTRE, CENTRE])
    np.testing.assert_allclose(point, [[[0, 0.01, 5]]], atol=1e-12)


def test_more_cameras_weigh_more():
    """Two of three rays at y = 0: the point is at a third of 20 mm."""
    point = triangulate([AT_ORIGIN, AT_ORIGIN, FROM_THE_SIDE], [CENTRE] * 3)
    np.testing.assert_allclose(point, [[[0, 0.02 / 3, 5]]], atol=1e-12)


def test_parallel_rays_fix_no_point():
    assert np.isnan(triangulate([AT_ORIGIN, AT_ORIGIN], [CENTRE, CENTRE])).all()


@pytest.mark.parametrize(
    ("change", "metres"),
    [((0, 0, 0), 0.0), ((2, 0, 0), 0.011), ((0, -4, 0), 0.022), ((0, 0, 2.005), 0.01), ((np.nan, 0, 0), np.nan)],
)
def test_disagreement_is_in_metres_at_the_joint(change, metres):
    """A root 5 m and a joint 5.5 m away: 200.5 px a metre at the root; at the joint a pixel is 5.5 mm."""
    room = np.array([[[0.0, 0.0, 5.0], [0.5, 0.0, 5.5]]])
    image = np.array([[[500.0, 500.0, 0.0], [500 + 500 / 5.5, 500.0, 0.5 * 200.5]]])
    image[0, 1] += change
    assert disagreement(AT_ORIGIN, image, room) == pytest.approx(metres, abs=1e-12, nan_ok=True)
