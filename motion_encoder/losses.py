"""The pose losses, as sums and counts over the known joints.

Each loss returns a ``Sum``: a differentiable total and the number of terms in it. Workers have different numbers of
known joints, so averaging their means would be wrong; dividing the totals by the global counts gives the same loss for
any number of workers. Where all joints are known, values and gradients equal those of the released MotionBERT code
within 1e-6. That code has no mask for 3D. Here, an unknown joint contributes nothing to the total, count and gradient
of the 3D terms, even if its target is not finite.

Shapes: B clips, T frames, J joints, C coordinates, L = 16 limbs, A = 18 angles between limbs.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from motion_encoder.constants import indices
from motion_encoder.shapes import Bool, Float, Int
from motion_encoder.skeletons import H36M17

Points = Float[Tensor, "B T J C"]
Body = Float[Tensor, "B T 17 3"]
Known = Bool[Tensor, "B T J"] | Float[Tensor, "B T J"]
"""Which joints are known, or their confidence (above 0: known); None if all are known."""

_PARENTS = tuple(parent for parent, _ in H36M17.bones)
_CHILDREN = tuple(child for _, child in H36M17.bones)

# The published angles: pairs of limbs, each named by its outer joint.
_ANGLES = (
    ("rhip", "lhip"), ("rhip", "belly"), ("lhip", "belly"), ("rhip", "rknee"), ("rknee", "rankle"), ("lhip", "lknee"),
    ("lknee", "lankle"), ("belly", "neck"), ("neck", "lshoulder"), ("neck", "rshoulder"), ("nose", "rshoulder"),
    ("lshoulder", "rshoulder"), ("neck", "nose"), ("nose", "head"), ("lshoulder", "lelbow"), ("lelbow", "lwrist"),
    ("rshoulder", "relbow"), ("relbow", "rwrist"),
)  # fmt: skip
_FIRST_LIMB = tuple(_CHILDREN.index(H36M17.index(first)) for first, _ in _ANGLES)
_SECOND_LIMB = tuple(_CHILDREN.index(H36M17.index(second)) for _, second in _ANGLES)
_COSINE_LIMIT = 1 - 1e-7
"""Keeps cosines away from ±1, where the arc cosine has no finite slope."""


@dataclass(frozen=True)
class Sum:
    """A differentiable total and the number of terms in it."""

    total: Float[Tensor, ""]
    count: Int[Tensor, ""]

    def mean(self) -> Float[Tensor, ""]:
        """Return total / count; 0, with gradient 0, if the count is 0."""
        return self.total / self.count.clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the loss terms; the defaults are the published ones. A term of weight 0 is not computed."""

    mpjpe: float = 1.0
    """Weight of the distance between predicted and true joints (MPJPE)."""
    n_mpjpe: float = 0.5
    """Weight of the same distance after each predicted frame is scaled to fit the truth best (N-MPJPE)."""
    velocity: float = 20.0
    """Weight of the error of the joints' displacement from frame to frame."""
    limb_variance: float = 0.0
    """Weight of the variance of the predicted limb lengths over time."""
    limb_length: float = 0.0
    """Weight of the error of the limb lengths."""
    angle: float = 0.0
    """Weight of the error of the angles between limbs, in radians."""
    angle_velocity: float = 0.0
    """Weight of the error of the angles' change from frame to frame, in radians."""
    xy_2d: float = 1.0
    """Weight of the distance in x and y times the confidence of the joint; used for clips without 3D."""

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"loss weight {name}: expected a finite number >= 0, found {weight}")
        if not self.active:
            raise ValueError("loss weights: all are 0, nothing would be learnt; give at least one")

    @property
    def active(self) -> dict[str, float]:
        """Return the non-zero weights by the name of their term."""
        return {name: weight for name, weight in asdict(self).items() if weight}


def pose_losses(
    pred_BTJ3: Body,
    target_BTJ3: Body,
    known_BTJ: Known,
    has_depth_B: Bool[Tensor, "B"],
    weights: LossWeights,
) -> dict[str, Sum]:
    """Return the terms of non-zero weight for a batch of mixed supervision.

    Clips with depth contribute to the 3D terms, the others to the x-y term. As published (``rootrel: True``), each
    frame of the target is made root-relative and the prediction is used as it is: the network learns to predict the
    root at 0. A frame without a known root joint has no root-relative target and is skipped. (The published code uses
    whatever position the data has for the root.)

    Args:
        pred_BTJ3: the network's output, in window units.
        target_BTJ3: the truth in the same units; unknown joints, and z in clips without depth, may have any value.
        known_BTJ: which joints are known, or their confidence in [0, 1].
        has_depth_B: whether z of a clip is known.
        weights: which terms to compute; the weights themselves are applied by the caller, after the global mean.
    """
    usable_BTJ = (known_BTJ > 0) & (known_BTJ[..., :1] > 0)
    has_depth_B11 = has_depth_B[:, None, None]
    pred_BTJ3 = pred_BTJ3.to(target_BTJ3.dtype)
    relative_BTJ3 = target_BTJ3 - target_BTJ3[:, :, :1]

    def term(name: str) -> Sum:
        if name == "xy_2d":
            confidence_BTJ = known_BTJ * (usable_BTJ & ~has_depth_B11).to(target_BTJ3.dtype)
            return loss_2d(pred_BTJ3, relative_BTJ3, confidence_BTJ)
        return _TERMS_3D[name](pred_BTJ3, relative_BTJ3, usable_BTJ & has_depth_B11)

    return {name: term(name) for name in weights.active}


def mpjpe(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Sum:
    """Mean per-joint position error: distance between a joint and its true position, over known joints."""
    pred_BTJC, target_BTJC, known_BTJ = keep_known(pred_BTJC, target_BTJC, known_BTJ)
    return _sum((pred_BTJC - target_BTJC).norm(dim=-1), known_BTJ)


def n_mpjpe(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Sum:
    """Scale-normalised MPJPE: each frame of the prediction is first scaled to fit best (Rhodin et al., CVPR 2018)."""
    pred_BTJC, target_BTJC, known_BTJ = keep_known(pred_BTJC, target_BTJC, known_BTJ)
    scaled_BTJC = fitted_scale(pred_BTJC, target_BTJC) * pred_BTJC
    return _sum((scaled_BTJC - target_BTJC).norm(dim=-1), known_BTJ)


def velocity(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Sum:
    """Error of a joint's displacement from frame to frame, over joints known in both frames."""
    pred_BTJC, target_BTJC, known_BTJ = keep_known(pred_BTJC, target_BTJC, known_BTJ)
    error_BTJC = (pred_BTJC - target_BTJC).diff(dim=1)
    return _sum(error_BTJC.norm(dim=-1), _both_frames(known_BTJ))


def limb_variance(pred_BTJ3: Body, known_BTJ: Known | None = None) -> Sum:
    """Variance over time (n - 1) of the predicted limb lengths; over clips and limbs known in at least 2 frames."""
    pred_BTJ3, _, known_BTJ = keep_known(pred_BTJ3, pred_BTJ3, known_BTJ)
    length_BTL, known_BTL = _limbs(pred_BTJ3).norm(dim=-1), _limbs_known(known_BTJ)
    frames_BL = known_BTL.sum(dim=1)
    mean_BL = (length_BTL * known_BTL).sum(dim=1) / frames_BL.clamp_min(1)
    square_BTL = (length_BTL - mean_BL[:, None]).square() * known_BTL
    return _sum(square_BTL.sum(dim=1) / (frames_BL - 1).clamp_min(1), frames_BL >= 2)


def limb_length(pred_BTJ3: Body, target_BTJ3: Body, known_BTJ: Known | None = None) -> Sum:
    """Absolute difference of limb lengths, over limbs with both ends known."""
    pred_BTJ3, target_BTJ3, known_BTJ = keep_known(pred_BTJ3, target_BTJ3, known_BTJ)
    error_BTL = _limbs(pred_BTJ3).norm(dim=-1) - _limbs(target_BTJ3).norm(dim=-1)
    return _sum(error_BTL.abs(), _limbs_known(known_BTJ))


def angle(pred_BTJ3: Body, target_BTJ3: Body, known_BTJ: Known | None = None) -> Sum:
    """Absolute difference in radians of the 18 angles between limbs, over angles with both limbs known."""
    error_BTA, known_BTA = _angle_error(pred_BTJ3, target_BTJ3, known_BTJ)
    return _sum(error_BTA.abs(), known_BTA)


def angle_velocity(pred_BTJ3: Body, target_BTJ3: Body, known_BTJ: Known | None = None) -> Sum:
    """Absolute error of the angles' change from frame to frame, over angles known in both frames."""
    error_BTA, known_BTA = _angle_error(pred_BTJ3, target_BTJ3, known_BTJ)
    return _sum(error_BTA.diff(dim=1).abs(), _both_frames(known_BTA))


def loss_2d(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Sum:
    """Distance in x and y times the confidence.

    As published (``loss_2d_weighted``), the mean is over all joints, observed or not: a clip with fewer observed joints
    or lower confidences has less weight. Frames without any observed joint do not count: they are padding or gaps,
    which the published data does not have.
    """
    pred_BTJ2, target_BTJ2, seen_BTJ = keep_known(pred_BTJC[..., :2], target_BTJC[..., :2], known_BTJ)
    distance_BTJ = (pred_BTJ2 - target_BTJ2).norm(dim=-1)
    counted_BTJ = seen_BTJ.any(dim=-1, keepdim=True).expand_as(seen_BTJ)
    return _sum(distance_BTJ if known_BTJ is None else distance_BTJ * known_BTJ, counted_BTJ)


_TERMS_3D: dict[str, Callable[[Tensor, Tensor, Tensor], Sum]] = {
    "mpjpe": mpjpe,
    "n_mpjpe": n_mpjpe,
    "velocity": velocity,
    "limb_variance": lambda pred_BTJ3, _, known_BTJ: limb_variance(pred_BTJ3, known_BTJ),
    "limb_length": limb_length,
    "angle": angle,
    "angle_velocity": angle_velocity,
}


def keep_known(
    pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None
) -> tuple[Points, Points, Bool[Tensor, "B T J"]]:
    """Set unknown joints to 0 in both, before any arithmetic: 0 × NaN would be NaN, also in the gradient."""
    if known_BTJ is None:
        known_BTJ = torch.ones(pred_BTJC.shape[:3], dtype=torch.bool, device=pred_BTJC.device)
    known_BTJ = known_BTJ > 0
    unknown_BTJ1 = ~known_BTJ[..., None]
    return pred_BTJC.masked_fill(unknown_BTJ1, 0), target_BTJC.masked_fill(unknown_BTJ1, 0), known_BTJ


def fitted_scale(pred_BTJC: Points, target_BTJC: Points) -> Float[Tensor, "B T 1 1"]:
    """Return the least-squares scale of each predicted frame to its target; 0 if the predicted frame is all 0."""
    power_BT11 = pred_BTJC.square().sum(dim=(2, 3), keepdim=True)
    overlap_BT11 = (pred_BTJC * target_BTJC).sum(dim=(2, 3), keepdim=True)
    return overlap_BT11 / power_BT11.clamp_min(torch.finfo(power_BT11.dtype).tiny)


def _sum(values: Tensor, known: Tensor) -> Sum:
    return Sum(values.masked_fill(~known, 0).sum(), known.sum())


def _both_frames(known_BTN: Tensor) -> Tensor:
    return known_BTN[:, 1:] & known_BTN[:, :-1]


def _limbs(x_BTJ3: Body) -> Float[Tensor, "B T 16 3"]:
    return _take(x_BTJ3, _CHILDREN) - _take(x_BTJ3, _PARENTS)


def _limbs_known(known_BTJ: Bool[Tensor, "B T 17"]) -> Bool[Tensor, "B T 16"]:
    return _take(known_BTJ, _CHILDREN) & _take(known_BTJ, _PARENTS)


def _take(values: Tensor, joints: tuple[int, ...]) -> Tensor:
    """Return the values of these joints or limbs, which are the third axis."""
    return values.index_select(2, indices(joints, values.device))


def _angle_error(pred_BTJ3: Body, target_BTJ3: Body, known_BTJ: Known | None) -> tuple[Tensor, Tensor]:
    pred_BTJ3, target_BTJ3, known_BTJ = keep_known(pred_BTJ3, target_BTJ3, known_BTJ)
    known_BTL = _limbs_known(known_BTJ)
    return _angles(pred_BTJ3) - _angles(target_BTJ3), _take(known_BTL, _FIRST_LIMB) & _take(known_BTL, _SECOND_LIMB)


def _angles(x_BTJ3: Body) -> Float[Tensor, "B T 18"]:
    limbs_BTL3 = _limbs(x_BTJ3)
    cosine_BTA = torch.cosine_similarity(_take(limbs_BTL3, _FIRST_LIMB), _take(limbs_BTL3, _SECOND_LIMB), dim=-1)
    return cosine_BTA.clamp(-_COSINE_LIMIT, _COSINE_LIMIT).acos()
