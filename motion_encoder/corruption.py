"""Corruption: what a 2D detector would have got wrong, then what a masked encoder must fill in.

Noise first, then masks, as published (paper section 3.3; ``Augmenter2D`` of the published code, with its fitted
parameters), in window units. Where the published code shares one frame mask and one jitter among the whole batch,
each clip here has its own, keyed by (seed, step, position).

Shapes: B clips, T frames, J = 17 joints of ``h36m17``, K keyframes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Float

# Per joint of h36m17: mean x, mean y, standard deviation x, y of the Gaussian, and the weight of the Gaussian against
# the uniform part. Values of params/synthetic_noise.pth of the published system.
_NOISE_J5 = (
    (0.00081, 0.00021, 0.00366, 0.00357, 0.99875), (-0.00015, 0.00200, 0.00713, 0.00511, 0.96695),
    (0.00204, -0.00151, 0.00608, 0.00500, 0.88961), (0.00094, 0.00091, 0.00895, 0.00529, 0.89384),
    (0.00187, -0.00070, 0.00672, 0.00533, 0.97462), (0.00193, -0.00520, 0.00701, 0.00492, 0.87667),
    (0.00089, -0.00187, 0.00951, 0.00563, 0.82101), (0.00247, 0.00233, 0.00659, 0.00497, 0.95781),
    (0.00214, -0.00651, 0.00549, 0.00531, 0.91831), (0.00166, 0.00166, 0.00534, 0.00488, 0.96794),
    (0.00084, 0.00159, 0.00342, 0.00349, 0.98412), (0.00079, -0.00462, 0.00801, 0.00609, 0.89099),
    (0.00150, 0.00030, 0.00517, 0.00475, 0.80156), (0.00116, 0.00163, 0.00499, 0.00509, 0.70277),
    (0.00210, -0.00317, 0.00782, 0.00793, 0.88090), (0.00168, -0.00033, 0.00601, 0.00572, 0.82463),
    (0.00166, 0.00132, 0.00537, 0.00568, 0.72875),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How inputs are spoilt. Published values; a ratio of 0 switches that part off."""

    joint_mask_ratio: float = 0.05
    """Share of (frame, joint) entries that are zeroed."""
    frame_mask_ratio: float = 0.1
    """Share of frames that are zeroed whole."""
    keyframe_every: int = 9
    """Frames between two independent displacements; linear in between (243 frames have 27 keyframes)."""
    uniform_range: float = 0.06
    """Width of the uniform displacement of a badly detected joint."""
    jitter_std: float = 0.002
    """White noise on every joint and frame."""
    noise_scale: float = 1.0
    """Factor on all displacements; 0 leaves positions and confidences as they are."""

    def __post_init__(self) -> None:
        for name in ("joint_mask_ratio", "frame_mask_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"corruption.{name}: expected a share in [0, 1), found {getattr(self, name)}")
        for name in ("uniform_range", "jitter_std", "noise_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"corruption.{name}: expected at least 0, found {getattr(self, name)}")
        if self.keyframe_every < 1:
            raise ValueError(f"corruption.keyframe_every: expected at least 1, found {self.keyframe_every}")


def add_noise(
    random: KeyedRandom, keypoints_BTJ2: Float[Tensor, "B T 17 2"], corruption: Corruption
) -> tuple[Float[Tensor, "B T 17 2"], Float[Tensor, "B T 17"]]:
    """Displace joints as a detector does; return them with the confidence such a detector would report."""
    _, num_frames, num_joints, _ = keypoints_BTJ2.shape
    num_keys = max(2, round(num_frames / corruption.keyframe_every))
    noise_J5 = torch.tensor(_NOISE_J5, device=keypoints_BTJ2.device)
    mean_J2, std_J2, weight_J = noise_J5[:, :2], noise_J5[:, 2:4], noise_J5[:, 4]

    shape = (num_keys, num_joints)
    gaussian_BKJ2 = mean_J2 + std_J2 * random.normal("noise/gaussian", *shape, 2)
    half = corruption.uniform_range / 2
    uniform_BKJ2 = random.between("noise/uniform", -half, half, *shape, 2)
    is_gaussian_BKJ = random.uniform("noise/which", *shape) < weight_J
    displaced_BKJ2 = torch.where(is_gaussian_BKJ[..., None], gaussian_BKJ2, uniform_BKJ2)

    jitter_BTJ2 = corruption.jitter_std * random.normal("noise/jitter", num_frames, num_joints, 2)
    displacement_BTJ2 = corruption.noise_scale * (_stretch(displaced_BKJ2, num_frames) + jitter_BTJ2)
    confidence_BTJ = _reported_confidence(random, displacement_BTJ2.norm(dim=-1))
    return keypoints_BTJ2 + displacement_BTJ2, confidence_BTJ


def _stretch(keys_BKJ2: Tensor, num_frames: int) -> Tensor:
    """Linear interpolation over time, first and last key on first and last frame."""
    keys_BNK = keys_BKJ2.flatten(2).transpose(1, 2)
    stretched = torch.nn.functional.interpolate(keys_BNK, size=num_frames, mode="linear", align_corners=True)
    return stretched.transpose(1, 2).unflatten(2, keys_BKJ2.shape[2:])


def _reported_confidence(random: KeyedRandom, distance_BTJ: Tensor) -> Tensor:
    """The published fit of a detector's confidence against its error (``d2c`` parameters)."""
    a, b, mean, std = 0.028, 1.1, -0.0045857, 0.1431057
    noise_BTJ = mean + std * random.normal("noise/confidence", *distance_BTJ.shape[1:])
    return (a / (distance_BTJ + a) + b * distance_BTJ + noise_BTJ).clamp(0, 1)


def add_masks(
    random: KeyedRandom, confidence_BTJ: Float[Tensor, "B T J"], corruption: Corruption
) -> Float[Tensor, "B T J"]:
    """Set the confidence of masked joints and frames to 0: they are no longer observed."""
    num_frames, num_joints = confidence_BTJ.shape[1:]
    keep_BTJ = random.uniform("mask/joint", num_frames, num_joints) >= corruption.joint_mask_ratio
    keep_BT1 = random.uniform("mask/frame", num_frames, 1) >= corruption.frame_mask_ratio
    return confidence_BTJ * keep_BTJ * keep_BT1
