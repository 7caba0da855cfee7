"""Scores and the protocols under which they were measured.

A score only has a meaning together with how it was measured: an alignment with more degrees of freedom leaves a smaller
error, and detected 2D input gives larger errors than projected 2D. So a ``Score`` contains a ``Protocol``, and scores
of different protocols cannot be compared. Position metrics are per frame, in the unit of the input, and equal those of
the released MotionBERT code within 1e-6. With unknown joints they differ from MMPose's metrics, which align on all
joints and average over known ones; here an unknown joint has no influence.

Shapes: B clips, T frames, J joints, C coordinates. The error of a frame without known joints is NaN.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from motion_encoder.losses import Known, Points, fitted_scale, keep_known
from motion_encoder.shapes import Bool, Float, Int


def mpjpe(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Float[Tensor, "B T"]:
    """Mean per-joint position error of each frame ("protocol 1" if both inputs are root-relative)."""
    return _error(*keep_known(pred_BTJC, target_BTJC, known_BTJ))


def p_mpjpe(pred_BTJ3: Points, target_BTJ3: Points, known_BTJ: Known | None = None) -> Float[Tensor, "B T"]:
    """MPJPE of each frame after the similarity transform that fits its known joints best ("protocol 2")."""
    pred_BTJ3, target_BTJ3, known_BTJ = keep_known(pred_BTJ3, target_BTJ3, known_BTJ)
    return _error(procrustes(pred_BTJ3, target_BTJ3, known_BTJ), target_BTJ3, known_BTJ)


def n_mpjpe(pred_BTJC: Points, target_BTJC: Points, known_BTJ: Known | None = None) -> Float[Tensor, "B T"]:
    """MPJPE of each frame after the scaling about the origin that fits its known joints best."""
    pred_BTJC, target_BTJC, known_BTJ = keep_known(pred_BTJC, target_BTJC, known_BTJ)
    return _error(fitted_scale(pred_BTJC, target_BTJC) * pred_BTJC, target_BTJC, known_BTJ)


def procrustes(
    pred_BTJ3: Float[Tensor, "B T J 3"], target_BTJ3: Float[Tensor, "B T J 3"], known_BTJ: Bool[Tensor, "B T J"]
) -> Float[Tensor, "B T J 3"]:
    """Scale, rotate and move each frame of the prediction to fit the target: least squares over known joints.

    The rotation is never a reflection (Umeyama, 1991). A prediction with all joints at one point is moved to the centre
    of the target.
    """
    weight_BTJ1 = known_BTJ[..., None].to(pred_BTJ3.dtype)
    number_BT11 = weight_BTJ1.sum(dim=2, keepdim=True).clamp_min(1)
    pred_centre_BT13 = (weight_BTJ1 * pred_BTJ3).sum(dim=2, keepdim=True) / number_BT11
    target_centre_BT13 = (weight_BTJ1 * target_BTJ3).sum(dim=2, keepdim=True) / number_BT11
    pred_BTJ3 = pred_BTJ3 - pred_centre_BT13
    centred_BTJ3 = weight_BTJ1 * pred_BTJ3
    covariance_BT33 = centred_BTJ3.transpose(2, 3) @ (target_BTJ3 - target_centre_BT13)

    u_BT33, stretch_BT3, v_BT33 = torch.linalg.svd(covariance_BT33)
    sign_BT = torch.linalg.det(u_BT33 @ v_BT33).sign()
    signs_BT3 = torch.stack([torch.ones_like(sign_BT), torch.ones_like(sign_BT), sign_BT], dim=-1)
    rotation_BT33 = (u_BT33 * signs_BT3[..., None, :]) @ v_BT33
    power_BT = centred_BTJ3.square().sum(dim=(2, 3))
    scale_BT = (stretch_BT3 * signs_BT3).sum(dim=-1) / power_BT.clamp_min(torch.finfo(power_BT.dtype).tiny)
    return scale_BT[..., None, None] * pred_BTJ3 @ rotation_BT33 + target_centre_BT13


def _error(pred_BTJC: Tensor, target_BTJC: Tensor, known_BTJ: Tensor) -> Tensor:
    distance_BTJ = (pred_BTJC - target_BTJC).norm(dim=-1) * known_BTJ
    return distance_BTJ.sum(dim=-1) / known_BTJ.sum(dim=-1)


def accuracy(predicted_B: Int[Tensor, "B"], label_B: Int[Tensor, "B"]) -> float:
    """Return the share of clips that are classified correctly."""
    if len(label_B) == 0:
        raise ValueError("accuracy: expected at least one labelled clip, found none; is the test split empty?")
    return (predicted_B == label_B).double().mean().item()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a score was measured. Scores may be compared only if their protocols are equal."""

    metric: str
    """Name of the metric with its unit: ``mpjpe_mm``, ``accuracy``."""
    alignment: Literal["root", "procrustes", "none"] | None = None
    """How the prediction was aligned to the truth; None for metrics that do not compare positions."""
    scale: Literal["true", "fitted"] | None = None
    """Whether the prediction was scaled by the known scale of the input, or fitted to the truth."""
    input: str
    """Kind of 2D input: ``projected-2d``, ``detected-2d``, ..."""
    clip_frames: int
    split: str
    data: str
    """Short digest of the store."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value == "" or "/" in str(value):
                raise ValueError(f"protocol {field.name}: expected a name without '/', found {value!r}")

    @property
    def key(self) -> str:
        """The protocol as a stable string, such as ``mpjpe_mm/root/true-scale/projected-2d/T81/test/1a2b3c4d``."""
        scale = self.scale and f"{self.scale}-scale"
        frames = f"T{self.clip_frames}"
        parts = (self.metric, self.alignment, scale, self.input, frames, self.split, self.data)
        return "/".join(part for part in parts if part is not None)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A measured value with its protocol."""

    protocol: Protocol
    value: float
    higher_is_better: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"score {self.protocol.key}: expected a finite number, found {self.value}")

    def better_than(self, other: "Score") -> bool:
        """Return whether this score is strictly better.

        Raises:
            ValueError: the protocols differ, or higher is better for one score only.
        """
        if (self.protocol, self.higher_is_better) != (other.protocol, other.higher_is_better):
            raise ValueError(
                f"scores of different protocols cannot be compared: {self.protocol.key} (higher is better: "
                f"{self.higher_is_better}) and {other.protocol.key} (higher is better: {other.higher_is_better})"
            )
        return self.value > other.value if self.higher_is_better else self.value < other.value
