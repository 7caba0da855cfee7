"""Views: 2D observations made from 3D motion by virtual cameras around the person.

A view is a perspective camera that looks at the middle of the clip. The network's target is the skeleton in the axes of
that camera. In each frame it is scaled by focal length / root depth, which gives pixels at the root's distance. So x
and y of the root agree with the image, and dividing the target by one known scale gives the skeleton in metres.

The published targets differ. For Human3.6M they are "2.5D": z is the same, but x and y of each joint are those of the
image, where nearer joints appear larger. Scaled back to metres, such a skeleton is wrong by 22 mm on average at 4 to
6 m, and by up to 150 mm for a hand that reaches towards the camera; the published protocol still measures errors
against it. For AMASS the published camera is a parallel projection that never moves, and a metre is 0.298 window units.

Shapes: B clips, T frames, J joints. World: metres, Y up, right-handed. Camera: x right, y down, z forward.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Float


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """Ranges from which virtual cameras are drawn uniformly."""

    azimuth_deg: tuple[float, float] = (-180.0, 180.0)
    """Range of the angle around the vertical axis, in degrees; at 0 the camera is in front of a person who faces +Z."""
    elevation_deg: tuple[float, float] = (-10.0, 30.0)
    """Range of the angle above the horizon, in degrees; at most 89, since the image of a camera that looks straight
    down has no upright direction."""
    roll_deg: tuple[float, float] = (-5.0, 5.0)
    """Range of the rotation about the viewing direction, in degrees."""
    distance_m: tuple[float, float] = (3.0, 7.0)
    """Range of the distance in metres between the camera and the surface of a sphere around all joints of the clip, so
    that no joint is behind the camera."""
    focal: tuple[float, float] = (1000.0, 1500.0)
    """Range of the focal length, in pixels of an image 1,000 pixels wide. The default covers the cameras of Human3.6M
    and of common phones."""

    def __post_init__(self) -> None:
        bounds = {
            "azimuth_deg": (-360.0, 360.0),
            "elevation_deg": (-89.0, 89.0),
            "roll_deg": (-180.0, 180.0),
            "distance_m": (0.1, 1000.0),
            "focal": (1.0, 100_000.0),
        }
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(
                    f"cameras.{name}: expected low <= high within {least} to {most}, found {low} to {high}"
                )


@dataclass(frozen=True)
class Views:
    """One camera per clip."""

    rotation_B33: Float[Tensor, "B 3 3"]
    centre_B3: Float[Tensor, "B 3"]
    """Position of the camera in the world, metres."""
    focal_B: Float[Tensor, "B"]
    """Focal length, in pixels."""

    def to_camera(self, world_BTJ3: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Convert world coordinates to camera coordinates, both in metres."""
        offset_BTJ3 = world_BTJ3 - self.centre_B3[:, None, None, :]
        return torch.einsum("bij,btkj->btki", self.rotation_B33, offset_BTJ3)

    def project(self, camera_BTJ3: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 2"]:
        """Project to pixels relative to the principal point."""
        return camera_BTJ3[..., :2] / camera_BTJ3[..., 2:] * self.focal_B[:, None, None, None]

    def target(self, camera_BTJ3: Float[Tensor, "B T J 3"]) -> tuple[Float[Tensor, "B T J 3"], Float[Tensor, "B T"]]:
        """Return the target in pixels and its scale in pixels per metre, focal length / root depth.

        ``(target - target_root) / scale`` is the root-relative skeleton in metres. x and y of the root are its
        projection; its z is 0.
        """
        root_BT13 = camera_BTJ3[:, :, :1]
        scale_BT = self.focal_B[:, None] / root_BT13[:, :, 0, 2]
        root_px_BT12 = self.project(root_BT13)
        relative_BTJ3 = (camera_BTJ3 - root_BT13) * scale_BT[..., None, None]
        return relative_BTJ3 + torch.nn.functional.pad(root_px_BT12, (0, 1)), scale_BT


def sample_views(
    random: KeyedRandom,
    world_BTJ3: Float[Tensor, "B T J 3"],
    known_BTJ: Float[Tensor, "B T J"],
    views: ViewRange,
) -> Views:
    """Place one camera per clip; it looks at the middle of the known joints."""
    known_BTJ1 = (known_BTJ > 0)[..., None]
    low_B3 = world_BTJ3.masked_fill(~known_BTJ1, torch.inf).amin(dim=(1, 2))
    high_B3 = world_BTJ3.masked_fill(~known_BTJ1, -torch.inf).amax(dim=(1, 2))
    middle_B3 = ((low_B3 + high_B3) / 2).nan_to_num(0.0)
    radius_B = (high_B3 - low_B3).norm(dim=-1).nan_to_num(0.0, posinf=0.0, neginf=0.0) / 2

    def draw(name: str, low_high: tuple[float, float]) -> Tensor:
        return random.between(f"view/{name}", *low_high)

    azimuth_B = torch.deg2rad(draw("azimuth", views.azimuth_deg))
    elevation_B = torch.deg2rad(draw("elevation", views.elevation_deg))
    backward_B3 = torch.stack(
        [
            elevation_B.cos() * azimuth_B.sin(),
            elevation_B.sin(),
            elevation_B.cos() * azimuth_B.cos(),
        ],
        dim=-1,
    )
    distance_B = radius_B + draw("distance", views.distance_m)
    rotation_B33 = _look(-backward_B3, torch.deg2rad(draw("roll", views.roll_deg)))
    return Views(rotation_B33, middle_B3 + distance_B[:, None] * backward_B3, draw("focal", views.focal))


def _look(forward_B3: Tensor, roll_B: Tensor) -> Tensor:
    """Return the rotation from world to camera for a viewing direction (not vertical) and a roll about it."""
    forward_x, _, forward_z = forward_B3.unbind(dim=-1)
    horizontal_B3 = torch.stack([-forward_z, torch.zeros_like(forward_x), forward_x], dim=-1)  # forward × up
    right_B3 = torch.nn.functional.normalize(horizontal_B3, dim=-1)
    down_B3 = torch.linalg.cross(forward_B3, right_B3)
    cos_B1, sin_B1 = roll_B.cos()[:, None], roll_B.sin()[:, None]
    return torch.stack([cos_B1 * right_B3 + sin_B1 * down_B3, cos_B1 * down_B3 - sin_B1 * right_B3, forward_B3], dim=1)
