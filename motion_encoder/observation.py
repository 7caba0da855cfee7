"""Convert stored motion to the network's input and target, batched and on the device.

3D motion is projected by a random camera; 2D keypoints are used as they are. Both are converted to the same window
units (``windows``), so that they can share a batch. A flag per clip says whether depth is known.

Shapes: B clips, T frames, J = 17 joints of ``h36m17``.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motion_encoder.cameras import ViewRange, sample_views
from motion_encoder.constants import indices
from motion_encoder.corruption import Corruption, MaskDraws, NoiseDraws, add_masks, add_noise
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17
from motion_encoder.windows import Windows, network_input

_FLIP_ORDER = H36M17.flip_order


@dataclass(frozen=True, kw_only=True)
class ViewOptions(ViewRange):
    """Ranges of virtual cameras and windows, and the share of mirrored clips."""

    margin: tuple[float, float] = (1.0, 1.25)
    """Range of the window's size: its side as a multiple of that of the tightest window around the person. (Published:
    0.25 to 1 for 2D in pretraining, with points outside clamped to the border; 1 to 3 for action; 3D motion is
    normalised by the whole image instead.)"""
    flip_ratio: float = 0.5
    """Share of clips that are mirrored left to right. The published value is 0.5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.margin
        if not 0 < low <= high < float("inf"):
            raise ValueError(f"cameras.margin: expected 0 < low <= high, found {low} to {high}")
        if not 0 <= self.flip_ratio <= 1:
            raise ValueError(f"cameras.flip_ratio: expected a share from 0 to 1, found {self.flip_ratio}")


TEST_VIEWS = ViewOptions(margin=(1.0, 1.0), flip_ratio=0.0)
"""Options for evaluation: the tightest window, which lifting uses too, and no mirroring."""


@dataclass(frozen=True)
class Observation:
    """Clean 2D keypoints and the 3D target, both in window units.

    For clips without depth, the target's z is 0 and has no meaning.
    """

    keypoints_BTJ2: Float[Tensor, "B T 17 2"]
    confidence_BTJ: Float[Tensor, "B T 17"]
    target_BTJ3: Float[Tensor, "B T 17 3"]
    scale_BT: Float[Tensor, "B T"]
    """Window units per metre at the root; 1 for clips without depth."""
    has_depth_B: Bool[Tensor, "B"]


def observe(
    points_BTJ3: Float[Tensor, "B T 17 3"],
    confidence_BTJ: Float[Tensor, "B T 17"],
    has_depth_B: Bool[Tensor, "B"],
    random: KeyedRandom,
    options: ViewOptions,
) -> Observation:
    """Return one observation of each clip: 3D motion is projected by a random camera, 2D (x, y, 0) is kept as it is."""
    views = sample_views(random, points_BTJ3, confidence_BTJ, options)
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
        Observation(keypoints_BTJ2, confidence_BTJ, target_BTJ3, scale_BT, has_depth_B),
        random.uniform("flip") < options.flip_ratio,
    )


def corrupted_input(observation: Observation, random: KeyedRandom, corruption: Corruption) -> Float[Tensor, "B T 17 3"]:
    """Return the network's input: add noise to the observed joints of exact clips, then masks to all clips.

    Exact clips are 3D motion and 2D annotations. They are recognised by their confidences, which are all 0, 1/2
    (hidden) or 1. Detections have errors and confidences of their own, so they get masks but no noise. This is as
    published: noise for Human3.6M, AMASS and PoseTrack, none for InstaVariety.
    """
    keypoints_BTJ2, confidence_BTJ = observation.keypoints_BTJ2, observation.confidence_BTJ
    num_frames, num_joints = confidence_BTJ.shape[1:]
    if corruption.noise_scale > 0:
        draws = NoiseDraws.of(random, num_frames, corruption.keyframes)
        noisy_BTJ2, reported_BTJ = add_noise(keypoints_BTJ2, draws, corruption)
        is_annotated_B = (2 * confidence_BTJ == (2 * confidence_BTJ).round()).all(dim=(1, 2))
        is_exact_B = observation.has_depth_B | is_annotated_B
        is_noisy_BTJ = is_exact_B[:, None, None] & (confidence_BTJ > 0)
        keypoints_BTJ2 = torch.where(is_noisy_BTJ[..., None], noisy_BTJ2, keypoints_BTJ2)
        confidence_BTJ = torch.where(is_noisy_BTJ, reported_BTJ, confidence_BTJ)
    masks = MaskDraws.of(random, num_frames, num_joints)
    return network_input(keypoints_BTJ2, add_masks(confidence_BTJ, masks, corruption))


def clean_input(observation: Observation) -> Float[Tensor, "B T 17 3"]:
    """Return the network's input without noise or masks."""
    return network_input(observation.keypoints_BTJ2, observation.confidence_BTJ)


def flip(points_BTJC: Float[Tensor, "B T 17 C"]) -> Float[Tensor, "B T 17 C"]:
    """Mirror left to right: negate x, and exchange left and right joints."""
    mirrored_BTJC = _exchange_sides(points_BTJC)
    return torch.cat([-mirrored_BTJC[..., :1], mirrored_BTJC[..., 1:]], dim=-1)


def _exchange_sides(values: Tensor) -> Tensor:
    """Exchange the values of left and right joints; joints are the third axis."""
    return values.index_select(2, indices(_FLIP_ORDER, values.device))


def _flip(observation: Observation, flipped_B: Tensor) -> Observation:
    flipped_B11 = flipped_B[:, None, None]
    flipped_B111 = flipped_B11[..., None]
    confidence_BTJ = observation.confidence_BTJ
    return replace(
        observation,
        keypoints_BTJ2=torch.where(flipped_B111, flip(observation.keypoints_BTJ2), observation.keypoints_BTJ2),
        confidence_BTJ=torch.where(flipped_B11, _exchange_sides(confidence_BTJ), confidence_BTJ),
        target_BTJ3=torch.where(flipped_B111, flip(observation.target_BTJ3), observation.target_BTJ3),
    )
