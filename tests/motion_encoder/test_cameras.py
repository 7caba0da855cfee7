"""Cameras: proper rotations, a person the right way up and the right way round, targets by hand."""

import math

import pytest
import torch

from motion_encoder.cameras import ViewRange, Views, sample_views
from motion_encoder.keyed_random import KeyedRandom

CLIPS = 200
LEVEL = {"elevation_deg": (0.0, 0.0), "roll_deg": (0.0, 0.0)}


def walkers(clips: int = CLIPS) -> torch.Tensor:
    """Joints scattered in a room: up to 4 m from the origin on the ground, 2 m high."""
    unit = torch.rand(clips, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    return unit * torch.tensor([8.0, 2.0, 8.0]) - torch.tensor([4.0, 0.0, 4.0])


def sample(world: torch.Tensor, view_range: ViewRange, known: torch.Tensor | None = None) -> Views:
    random = KeyedRandom.at(0, 0, torch.arange(len(world)))
    return sample_views(random, world, torch.ones(world.shape[:3]) if known is None else known, view_range)


def test_rotations_are_proper():
    rotation = sample(walkers(), ViewRange()).rotation_B33.double()
    identity = torch.eye(3, dtype=torch.float64).expand(CLIPS, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(CLIPS, dtype=torch.float64), atol=1e-6, rtol=0)


def test_everybody_is_in_front_of_the_camera_by_the_least_distance():
    world = walkers()
    camera = sample(world, ViewRange()).to_camera(world)
    assert camera[..., 2].min().item() >= 3.0 - 1e-3


def test_the_camera_looks_at_the_middle_of_what_is_known():
    world, known = walkers(), torch.ones(CLIPS, 9, 17)
    known[:, :, 5:] = 0
    world[:, :, 5:] = torch.nan
    seen = world[:, :, :5]
    middle = (seen.amin(dim=(1, 2)) + seen.amax(dim=(1, 2))) / 2
    pixels = (views := sample(world, ViewRange(), known)).project(views.to_camera(middle[:, None, None]))
    torch.testing.assert_close(pixels, torch.zeros_like(pixels), atol=0.05, rtol=0)


def test_a_clip_in_which_nothing_is_known_has_a_finite_camera():
    views = sample(torch.zeros(1, 9, 17, 3), ViewRange(), torch.zeros(1, 9, 17))
    assert views.rotation_B33.isfinite().all()
    assert 3 <= views.centre_B3.norm().item() <= 7


def test_a_person_facing_the_camera_is_upright_and_not_mirrored():
    """The person faces the camera at +z: head up, and the left hand (+x) on the right of the image."""
    head, left, right, foot = (0.0, 2.0, 0.0), (1.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (0.0, 0.0, 0.0)
    world = torch.tensor([[[head, left, right, foot]]])
    views = sample(world, ViewRange(azimuth_deg=(0.0, 0.0), **LEVEL))
    pixels = views.project(views.to_camera(world))[0, 0]
    assert views.centre_B3[0, 2].item() > 3
    assert pixels[0, 1] < pixels[1, 1] < pixels[3, 1]
    assert pixels[2, 0] < pixels[0, 0] < pixels[1, 0]
    torch.testing.assert_close(pixels[0, 0], torch.tensor(0.0), atol=1e-3, rtol=0)


def test_seen_from_above_the_feet_are_farther_than_the_head():
    world = torch.tensor([[[[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]])
    views = sample(world, ViewRange(elevation_deg=(30.0, 30.0)))
    depth = views.to_camera(world)[0, 0, :, 2]
    assert views.centre_B3[0, 1].item() > 1
    assert (depth[1] - depth[0]).item() == pytest.approx(2 * math.sin(math.radians(30)), abs=1e-5)


def test_roll_turns_the_image_about_its_middle():
    """A camera rolled clockwise by 90 degrees has its right side where level cameras have down."""
    world = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]]])
    level = sample(world, ViewRange(elevation_deg=(0.0, 0.0), roll_deg=(0.0, 0.0)))
    rolled = sample(world, ViewRange(elevation_deg=(0.0, 0.0), roll_deg=(90.0, 90.0)))
    (x, y), (rolled_x, rolled_y) = (v.project(v.to_camera(world))[0, 0, 0].tolist() for v in (level, rolled))
    assert (rolled_x, rolled_y) == (pytest.approx(y, abs=1e-2), pytest.approx(-x, abs=1e-2))


def test_target_by_hand():
    """Focal length 1000, root 4 m ahead: 250 pixels a metre; a joint 1 m to its right and 0.5 m nearer."""
    camera = torch.tensor([[[[0.4, -0.2, 4.0], [1.4, -0.2, 3.5]]]])
    views = Views(torch.eye(3)[None], torch.zeros(1, 3), torch.tensor([1000.0]))
    target, scale = views.target(camera)
    torch.testing.assert_close(scale, torch.tensor([[250.0]]))
    torch.testing.assert_close(target, torch.tensor([[[[100.0, -50.0, 0.0], [350.0, -50.0, -125.0]]]]))
    torch.testing.assert_close(views.project(camera)[0, 0, 1], torch.tensor([400.0, -0.2 / 3.5 * 1000]))


def test_the_target_gives_back_the_metric_skeleton_and_the_root_in_the_image():
    world = walkers()
    views = sample(world, ViewRange())
    camera = views.to_camera(world)
    target, scale = views.target(camera)
    metric = (target - target[:, :, :1]) / scale[..., None, None]
    torch.testing.assert_close(metric, camera - camera[:, :, :1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(target[:, :, 0, :2], views.project(camera)[:, :, 0])
    distances = (metric[:, :, 3] - metric[:, :, 8]).norm(dim=-1)
    torch.testing.assert_close(distances, (world[:, :, 3] - world[:, :, 8]).norm(dim=-1), atol=1e-4, rtol=1e-4)


def test_draws_fill_their_ranges():
    world = torch.zeros(CLIPS, 1, 1, 3)
    views = sample(world, ViewRange(azimuth_deg=(0.0, 90.0), elevation_deg=(10.0, 20.0), distance_m=(3.0, 7.0)))
    x, y, z = views.centre_B3.unbind(dim=1)
    for value, low, high in (
        (views.centre_B3.norm(dim=1), 3, 7),
        (torch.rad2deg(torch.atan2(x, z)), 0, 90),
        (torch.rad2deg(torch.asin(y / views.centre_B3.norm(dim=1))), 10, 20),
        (views.focal_B, 1000, 1500),
    ):
        slack = 0.05 * (high - low)  # 200 uniform draws all miss an end of 5 % with probability 0.95^200 = 4e-5
        assert low - 1e-3 <= value.min().item() < low + slack
        assert high - slack < value.max().item() <= high + 1e-3


def test_a_clip_is_looked_at_the_same_in_any_batch():
    world = walkers()
    random = KeyedRandom.at(0, 0, torch.tensor([17]))
    alone = sample_views(random, world[17:18], torch.ones(1, 9, 17), ViewRange())
    together = sample(world, ViewRange())
    torch.testing.assert_close(alone.rotation_B33[0], together.rotation_B33[17])
    torch.testing.assert_close(alone.centre_B3[0], together.centre_B3[17])
