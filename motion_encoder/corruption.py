"""Corruption of 2D input: the errors of a detector, then masks that the encoder learns to fill in.

As published (paper section 3.3; ``Augmenter2D`` of the released code, with its fitted parameters): given the same
random numbers, the results are equal within float32 rounding. To make this testable, drawing the random numbers
(``NoiseDraws``, ``MaskDraws``) is separate from using them. Two things differ: how random numbers are drawn, and where
they are used.

- Each clip has its own jitter and its own masked frames, keyed by (seed, step, position in the batch). The published
  code draws them once for the whole batch, so its result depends on how clips are batched.
- In ``observation.corrupted_input``, unobserved joints remain unobserved. The published code gives those of PoseTrack a
  plausible confidence.

Shapes: B clips, T frames, J = 17 joints of ``h36m17``, K keyframes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_encoder.constants import constant
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.shapes import Float

# params/synthetic_noise.pth of the published system, in float32. Per joint of h36m17: mean (x, y) and standard
# deviation (x, y) of the Gaussian, and the probability that the Gaussian is used instead of the uniform distribution.
_NOISE_J5 = (
    (0.0008132532, 0.00021239578, 0.00366263, 0.0035726058, 0.99874544),
    (-0.00014820766, 0.0019976026, 0.0071349284, 0.0051091867, 0.9669543),
    (0.0020388241, -0.0015100829, 0.0060844226, 0.0050034258, 0.8896069),
    (0.00094384747, 0.0009083699, 0.008953025, 0.005293174, 0.8938353),
    (0.0018671103, -0.00070370344, 0.0067165773, 0.005327726, 0.9746202),
    (0.0019328396, -0.005204166, 0.0070129237, 0.00492123, 0.8766729),
    (0.00089420564, -0.0018717711, 0.009505805, 0.005625369, 0.82100624),
    (0.0024676942, 0.002333917, 0.006588319, 0.0049676695, 0.95780736),
    (0.0021412224, -0.006508411, 0.005491425, 0.005305329, 0.91831464),
    (0.0016559243, 0.0016551084, 0.0053388313, 0.004876642, 0.96794033),
    (0.000836944, 0.0015929352, 0.0034163776, 0.0034922422, 0.98411983),
    (0.0007939354, -0.004621909, 0.008006617, 0.0060872044, 0.8909932),
    (0.001499354, 0.00029601713, 0.0051676724, 0.004753615, 0.80155617),
    (0.0011591825, 0.0016299643, 0.004990404, 0.0050890376, 0.70277023),
    (0.002103821, -0.0031660518, 0.007823454, 0.007934266, 0.8808956),
    (0.0016822636, -0.00033000324, 0.0060090865, 0.0057212887, 0.8246288),
    (0.0016638809, 0.0013175155, 0.0053703, 0.0056840717, 0.7287476),
)
# params/d2c_params.pkl: a, b, mean and standard deviation of the confidence as a function of the distance.
_CONFIDENCE_ABMS = (0.028, 1.1, -0.0045856964, 0.14310569)


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Noise and masks on the 2D input. The defaults are the published values; a value of 0 switches a part off."""

    joint_mask_ratio: float = 0.05
    """Share of joints that are masked, drawn for each joint of each frame; 0 for none."""
    frame_mask_ratio: float = 0.1
    """Share of frames in which all joints are masked; 0 for none."""
    keyframes: int = 27
    """Number of random displacements of a joint over a clip; between them the displacement is interpolated linearly."""
    uniform_range: float = 0.06
    """Width of the uniform distribution from which the displacement of a badly detected joint is drawn, in units of the
    published noise."""
    jitter_std: float = 0.002
    """Standard deviation of the independent noise on every joint of every frame, in units of the published noise."""
    noise_scale: float = 1.0
    """Factor on all noise. The published noise is for images of which the person fills about half, so windows that are
    tight around the person need 2; 0 switches the noise off and leaves the confidences as they are."""

    def __post_init__(self) -> None:
        for name in ("joint_mask_ratio", "frame_mask_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"corruption.{name}: expected a share in [0, 1), found {getattr(self, name)}")
        for name in ("uniform_range", "jitter_std", "noise_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"corruption.{name}: expected at least 0, found {getattr(self, name)}")
        if self.keyframes < 1:
            raise ValueError(f"corruption.keyframes: expected at least 1, found {self.keyframes}")


@dataclass(frozen=True, kw_only=True)
class NoiseDraws:
    """The random numbers behind the noise of B clips."""

    which_BKJ: Float[Tensor, "B K 17"]
    """Uniform in (0, 1): below the joint's Gaussian probability its displacement is Gaussian, above it is uniform."""
    gaussian_BKJ2: Float[Tensor, "B K 17 2"]
    """Standard normal."""
    uniform_BKJ2: Float[Tensor, "B K 17 2"]
    """Uniform in (0, 1)."""
    jitter_BTJ2: Float[Tensor, "B T 17 2"]
    """Standard normal."""
    confidence_BTJ: Float[Tensor, "B T 17"]
    """Standard normal."""

    @classmethod
    def of(cls, random: KeyedRandom, num_frames: int, keyframes: int) -> "NoiseDraws":
        """Draw for clips of ``num_frames``."""
        num_joints = len(_NOISE_J5)
        return cls(
            which_BKJ=random.uniform("noise/which", keyframes, num_joints),
            gaussian_BKJ2=random.normal("noise/gaussian", keyframes, num_joints, 2),
            uniform_BKJ2=random.uniform("noise/uniform", keyframes, num_joints, 2),
            jitter_BTJ2=random.normal("noise/jitter", num_frames, num_joints, 2),
            confidence_BTJ=random.normal("noise/confidence", num_frames, num_joints),
        )


@dataclass(frozen=True, kw_only=True)
class MaskDraws:
    """The random numbers behind the masks of B clips, uniform in (0, 1)."""

    joint_BTJ: Float[Tensor, "B T J"]
    frame_BT1: Float[Tensor, "B T 1"]

    @classmethod
    def of(cls, random: KeyedRandom, num_frames: int, num_joints: int) -> "MaskDraws":
        """Draw for clips of ``num_frames``."""
        return cls(
            joint_BTJ=random.uniform("mask/joint", num_frames, num_joints),
            frame_BT1=random.uniform("mask/frame", num_frames, 1),
        )


def add_noise(
    keypoints_BTJ2: Float[Tensor, "B T 17 2"], draws: NoiseDraws, corruption: Corruption
) -> tuple[Float[Tensor, "B T 17 2"], Float[Tensor, "B T 17"]]:
    """Add the errors of a detector to the joints; return them with the confidence that such a detector would report."""
    noise_J5 = constant(_NOISE_J5, keypoints_BTJ2.device)
    mean_J2, std_J2, probability_J = noise_J5[:, :2], noise_J5[:, 2:4], noise_J5[:, 4]
    gaussian_BKJ2 = mean_J2 + std_J2 * draws.gaussian_BKJ2
    uniform_BKJ2 = (draws.uniform_BKJ2 - 0.5) * corruption.uniform_range
    is_gaussian_BKJ1 = (draws.which_BKJ < probability_J)[..., None]
    keys_BKJ2 = torch.where(is_gaussian_BKJ1, gaussian_BKJ2, uniform_BKJ2)

    jitter_BTJ2 = corruption.jitter_std * draws.jitter_BTJ2
    displacement_BTJ2 = _interpolate(keys_BKJ2, keypoints_BTJ2.shape[1]) + jitter_BTJ2
    confidence_BTJ = reported_confidence(displacement_BTJ2.norm(dim=-1), draws.confidence_BTJ).clamp(0, 1)
    return keypoints_BTJ2 + corruption.noise_scale * displacement_BTJ2, confidence_BTJ


def _interpolate(keys_BKJ2: Tensor, num_frames: int) -> Tensor:
    """Interpolate linearly over time; the first and the last keyframe are the first and the last frame."""
    keys_BNK = keys_BKJ2.flatten(2).transpose(1, 2)
    values_BNT = torch.nn.functional.interpolate(keys_BNK, size=num_frames, mode="linear", align_corners=True)
    return values_BNT.transpose(1, 2).unflatten(2, keys_BKJ2.shape[2:])


def reported_confidence(
    distance_BTJ: Float[Tensor, "*shape"], normal_BTJ: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return a detector's confidence for a distance from the truth (in units of the fit), not yet clamped to [0, 1]."""
    a, b, mean, std = _CONFIDENCE_ABMS
    return a / (distance_BTJ + a) + b * distance_BTJ + mean + std * normal_BTJ


def add_masks(
    confidence_BTJ: Float[Tensor, "B T J"], draws: MaskDraws, corruption: Corruption
) -> Float[Tensor, "B T J"]:
    """Set the confidence of masked joints and frames to 0, which marks them as not observed."""
    keep_BTJ = draws.joint_BTJ > corruption.joint_mask_ratio
    keep_BT1 = draws.frame_BT1 > corruption.frame_mask_ratio
    return confidence_BTJ * keep_BTJ * keep_BT1
