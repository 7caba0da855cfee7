"""From stored motion to what the network sees and what it must say, batched and on the device.

3D motion is looked at by a random camera; 2D-only detections are their own view. Both end in the same window units
(`windows`), so that they share a batch, and a flag per clip says whether depth is known.

Shapes: B clips, T frames, J = 17 joints of ``h36m17``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from motion_encoder.cameras import ViewRange, sample_views
from motion_encoder.corruption import Corruption, add_masks, add_noise
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17
from motion_encoder.windows import Windows, network_input


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How clips are looked at."""

    views: ViewRange = field(default_factory=ViewRange)
    margin: tuple[float, float] = (1.0, 1.25)
    """Half side of the window over that of the tightest one."""
    flip_ratio: float = 0.5
    """Share of clips that are mirrored left to right."""

    def __post_init__(self) -> None:
        low, high = self.margin
        if not 0 < low <= high < float("inf"):
            raise ValueError(f"views.margin: expected 0 < low <= high, found {low} to {high}")
        if not 0 <= self.flip_ratio <= 1:
            raise ValueError(f"views.flip_ratio: expected a share from 0 to 1, found {self.flip_ratio}")


TEST_VIEWS = ViewOptions(margin=(1.0, 1.0), flip_ratio=0.0)
"""How evaluation looks: the tightest window, as lifting uses, and no mirror."""


@dataclass(frozen=True)
class Observation:
    """Clean 2D keypoints and the 3D target, both in window units.

    Without depth, the target's z is 0 and means nothing.
    """

    keypoints_BTJ2: Float[Tensor, "B T 17 2"]
    confidence_BTJ: Float[Tensor, "B T 17"]
    target_BTJ3: Float[Tensor, "B T 17 3"]
    scale_BT: Float[Tensor, "B T"]
    """Window units per metre at the root; 1 where there is no depth."""


def observe(
    points_BTJ3: Float[Tensor, "B T 17 3"],
    confidence_BTJ: Float[Tensor, "B T 17"],
    has_depth_B: Bool[Tensor, "B"],
    random: KeyedRandom,
    options: ViewOptions,
) -> Observation:
    """Look at each clip once: world metres through a random camera, or pixels (x, y, 0) as they are."""
    views = sample_views(random, points_BTJ3, confidence_BTJ, options.views)
    camera_BTJ3 = views.to_camera(points_BTJ3)
    depth_B111 = has_depth_B[:, None, None, None]
    seen_BTJ2 = torch.where(depth_B111, views.project(camera_BTJ3), points_BTJ3[..., :2])
    wanted_BTJ3, scale_BT = views.target(camera_BTJ3)
    wanted_BTJ3 = torch.where(depth_B111, wanted_BTJ3, points_BTJ3)

    windows = Windows.around(seen_BTJ2, confidence_BTJ, random.between("window/margin", *options.margin))
    scale_BT = torch.where(has_depth_B[:, None], scale_BT / windows.half_side_B[:, None], 1.0)
    unknown_BTJ1 = (confidence_BTJ <= 0)[..., None]
    keypoints_BTJ2 = windows.normalise(seen_BTJ2).masked_fill(unknown_BTJ1, 0)
    target_BTJ3 = windows.normalise(wanted_BTJ3).masked_fill(unknown_BTJ1, 0)
    return _flip(
        Observation(keypoints_BTJ2, confidence_BTJ, target_BTJ3, scale_BT),
        random.uniform("flip") < options.flip_ratio,
    )


def corrupted_input(observation: Observation, random: KeyedRandom, corruption: Corruption) -> Float[Tensor, "B T 17 3"]:
    """Return the network's input: noise on what was observed, then masks."""
    keypoints_BTJ2, confidence_BTJ = observation.keypoints_BTJ2, observation.confidence_BTJ
    if corruption.noise_scale > 0:
        keypoints_BTJ2, reported_BTJ = add_noise(random, keypoints_BTJ2, corruption)
        confidence_BTJ = torch.where(confidence_BTJ > 0, reported_BTJ, 0.0)
    return network_input(keypoints_BTJ2, add_masks(random, confidence_BTJ, corruption))


def clean_input(observation: Observation) -> Float[Tensor, "B T 17 3"]:
    """Return the network's input as observed."""
    return network_input(observation.keypoints_BTJ2, observation.confidence_BTJ)


def flip(points_BTJC: Float[Tensor, "B T 17 C"]) -> Float[Tensor, "B T 17 C"]:
    """Mirror left to right: x changes its sign, left and right joints change places."""
    sign_C = torch.ones(points_BTJC.shape[-1], device=points_BTJC.device)
    sign_C[0] = -1
    return points_BTJC[:, :, list(H36M17.flip_order)] * sign_C


def _flip(observation: Observation, flipped_B: Tensor) -> Observation:
    flipped_B11 = flipped_B[:, None, None]
    flipped_B111 = flipped_B11[..., None]
    return Observation(
        torch.where(flipped_B111, flip(observation.keypoints_BTJ2), observation.keypoints_BTJ2),
        torch.where(flipped_B11, observation.confidence_BTJ[:, :, list(H36M17.flip_order)], observation.confidence_BTJ),
        torch.where(flipped_B111, flip(observation.target_BTJ3), observation.target_BTJ3),
        observation.scale_BT,
    )
