from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from motion_encoder.palette import LIGHT
from motion_encoder.skeletons import H36M17
from pipelines.figures.pictures import Row, arrange, frame_strip


def standing(num_frames: int = 20) -> np.ndarray:
    """[T, 17, 3] metres, Y up, facing +Z, walking along +X: left is at +X."""
    sideways = {"hip": (0.1, 0.9), "knee": (0.12, 0.5), "ankle": (0.12, 0.1)}
    sideways |= {"shoulder": (0.2, 1.45), "elbow": (0.3, 1.2), "wrist": (0.35, 0.95)}
    centre = {"root": (0, 0.9), "belly": (0, 1.2), "neck": (0, 1.45), "nose": (0, 1.55), "head": (0, 1.7)}
    person_J3 = np.zeros((17, 3))
    for j, joint in enumerate(H36M17.joints):
        x, y = centre[joint] if joint in centre else sideways[joint[1:]]
        person_J3[j] = (-x if joint not in centre and joint[0] == "r" else x, y, 0)
    return person_J3 + np.array([0.05, 0, 0]) * np.arange(num_frames)[:, None, None]


def row(positions_TJC: np.ndarray, name: str = "lifted", **options: Any) -> Row:
    return Row(name=name, positions_TJC=positions_TJC, **options)


def in_pixels(world_TJ3: np.ndarray) -> np.ndarray:
    return world_TJ3[..., :2] * [200, -200] + [300, 500]


def share_of(picture: np.ndarray, colour: str) -> float:
    return float((np.abs(picture[..., :3] - to_rgb(colour)).max(axis=-1) < 0.02).mean())


def test_pixels_and_metres_stand_upright_at_one_height_without_travel():
    for positions in (in_pixels(standing()), standing()):
        (figure_TJ3,) = arrange(row(positions))
        height_T = figure_TJ3[..., 1].max(axis=1) - figure_TJ3[..., 1].min(axis=1)
        np.testing.assert_allclose(height_T, 1.0)
        np.testing.assert_allclose(figure_TJ3[..., 1].min(axis=1), 0.0, atol=1e-9)
        np.testing.assert_allclose(figure_TJ3, np.repeat(figure_TJ3[:1], 20, axis=0), atol=1e-9)
        assert (figure_TJ3[:, H36M17.index("head"), 1] > figure_TJ3[:, H36M17.index("root"), 1]).all()
        assert (figure_TJ3[:, H36M17.index("lwrist"), 0] > figure_TJ3[:, H36M17.index("rwrist"), 0]).all()


def test_a_hand_towards_the_viewer_comes_nearer_and_lower_in_a_view_from_above():
    world = standing(1)
    reaching = world.copy()
    reaching[:, H36M17.index("lwrist"), 2] += 0.4
    before, after = (arrange(row(each))[0][0, H36M17.index("lwrist")] for each in (world, reaching))
    assert after[2] > before[2]
    assert after[1] < before[1]


def test_from_the_side_depth_is_seen_and_a_jump_does_not_leave_the_row():
    world = standing(4)
    world[:, H36M17.index("lwrist"), 2] += 0.4
    world[2, :, 1] += 0.5
    (figure_TJ3,) = arrange(row(world, yaw_deg=90.0))
    wrist_T, shoulder_T = (figure_TJ3[:, H36M17.index(joint), 0] for joint in ("lwrist", "lshoulder"))
    height = 1.6 * np.cos(np.deg2rad(12))  # of the person, as seen from above by the pitch
    np.testing.assert_allclose(np.abs(wrist_T - shoulder_T), 0.4 / height, rtol=0.1)
    np.testing.assert_allclose(figure_TJ3[2, :, 1], figure_TJ3[1, :, 1], atol=1e-9)


def test_what_is_behind_has_the_same_root_and_scale():
    behind_TJ3, lifted_TJ3 = arrange(row(standing(), behind_TJ3=0.5 * standing() + [3.0, 1.0, 2.0]))
    root = H36M17.index("root")
    np.testing.assert_allclose(behind_TJ3[:, root], lifted_TJ3[:, root], atol=1e-9)
    behind_TJ3, lifted_TJ3 = (each_TJ3 - each_TJ3[:, [root]] for each_TJ3 in (behind_TJ3, lifted_TJ3))
    np.testing.assert_allclose(behind_TJ3, 0.5 * lifted_TJ3, atol=1e-9)


def test_the_strip_shows_both_sides_in_every_row(tmp_path: Path):
    rows = [row(in_pixels(standing()), "keypoints"), row(standing())]
    frame_strip(tmp_path / "strip.png", rows, frames=4, title="Walk")
    picture = imread(tmp_path / "strip.png")
    upper, lower = np.array_split(picture, 2)
    for half in (upper, lower):
        left, right = share_of(half, LIGHT["left"]), share_of(half, LIGHT["right"])
        assert left > 0.001
        assert left == pytest.approx(right, rel=0.2)


def test_joints_that_were_not_observed_are_not_drawn(tmp_path: Path):
    hidden = in_pixels(standing())
    hidden[:, [H36M17.index(left) for left, _ in H36M17.pairs]] = np.nan
    hidden[3] = np.nan
    frame_strip(tmp_path / "strip.png", [row(hidden)])
    picture = imread(tmp_path / "strip.png")
    left, right = share_of(picture, LIGHT["left"]), share_of(picture, LIGHT["right"])
    assert right > 0.001
    assert left < 0.05 * right  # the legend alone


def test_fewer_frames_than_asked_for_are_shown_once(tmp_path: Path):
    frame_strip(tmp_path / "two.png", [row(standing(2))], frames=8)
    frame_strip(tmp_path / "eight.png", [row(standing(8))], frames=8)
    two, eight = (imread(tmp_path / f"{name}.png").shape[1] for name in ("two", "eight"))
    assert eight == pytest.approx(4 * two, rel=0.02)


@pytest.mark.parametrize("rows", [[], [row(standing(2), "a"), row(standing(3), "b")], [row(standing(0))]])
def test_rows_of_unlike_length_are_refused(tmp_path: Path, rows):
    with pytest.raises(ValueError, match="rows of equal length"):
        frame_strip(tmp_path / "strip.png", rows)
