"""Link a detector's people over time, for detections that carry no track number.

Frame by frame, the people seen lately are matched to the new detections so that the summed likeness is greatest
(Hungarian method). The likeness of a pair is the IoU of the boxes plus the object keypoint similarity (OKS) of the
poses, as COCO defines it, over the joints that both see. Pairs below a bound are never linked: a person who leaves and
somebody who comes stay two.

The cost is linear in the number of frames, whatever the number of tracks.

Shapes: N detections, J = 17 joints of `h36m17`, O people seen lately.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from motion_encoder.shapes import Float, Int
from motion_encoder.skeletons import H36M17

MAX_PEOPLE = 256
"""Of one frame; with more, the table of pairs would fill the memory."""
_SIGMA = {
    "root": 0.107, "belly": 0.107, "hip": 0.107, "knee": 0.087, "ankle": 0.089, "neck": 0.079, "shoulder": 0.079,
    "elbow": 0.072, "wrist": 0.062, "nose": 0.026, "head": 0.035,
}  # fmt: skip
SIGMA_J = np.array([_SIGMA.get(joint, _SIGMA.get(joint[1:], np.nan)) for joint in H36M17.joints])
"""How far annotators of COCO are apart, in box sizes (cocodataset.org, keypoint evaluation)."""


@dataclass(frozen=True, kw_only=True)
class TrackingLimits:
    """When two detections may be the same person."""

    max_gap: int = 15
    """Frames that a person may be missing and still be taken for the same; half a second at 30 Hz."""
    min_likeness: float = 0.3
    """IoU plus OKS, at most 2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """People found in a video, in any order."""

    frame_N: Int[np.ndarray, "N"]
    box_N4: Float[np.ndarray, "N 4"]
    """Left, top, width, height in pixels."""
    keypoints_NJ2: Float[np.ndarray, "N 17 2"]
    confidence_NJ: Float[np.ndarray, "N 17"]


def link(detections: Detections, limits: TrackingLimits | None = None) -> Int[np.ndarray, "N"]:
    """Return a track number for each detection, from 0, in the order in which people appear.

    Raises:
        ValueError: More than 256 people in one frame.
    """
    limits = limits or TrackingLimits()
    track_N = np.full(len(detections.frame_N), -1)
    tracks = 0
    lately: list[int] = []  # the newest detection of each track that is not too long ago
    order_N = np.argsort(detections.frame_N, kind="stable")
    frames, starts = np.unique(detections.frame_N[order_N], return_index=True)
    for frame, new in zip(frames, np.split(order_N, starts[1:]), strict=True):
        if len(new) > MAX_PEOPLE:
            raise ValueError(f"frame {frame}: expected at most {MAX_PEOPLE} people, found {len(new)}")
        lately = [n for n in lately if frame - detections.frame_N[n] <= limits.max_gap + 1]
        likeness_ON = _likeness(detections, lately, new)
        for row, column in zip(*linear_sum_assignment(likeness_ON, maximize=True), strict=True):
            if likeness_ON[row, column] >= limits.min_likeness:
                track_N[new[column]] = track_N[lately[row]]
                lately[row] = int(new[column])
        for n in new[track_N[new] < 0]:
            track_N[n] = tracks
            tracks += 1
            lately.append(int(n))
    return track_N


def _likeness(detections: Detections, old: list[int], new: Int[np.ndarray, "N"]) -> Float[np.ndarray, "O N"]:
    return _iou(detections.box_N4[old][:, None], detections.box_N4[new][None]) + _oks(detections, old, new)


def _iou(a: Float[np.ndarray, "*a 4"], b: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*ab"]:
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - common
    return common / np.maximum(union, 1e-9)


def _oks(detections: Detections, old: list[int], new: Int[np.ndarray, "N"]) -> Float[np.ndarray, "O N"]:
    """Mean over the joints that both see of exp(-d² / (2 area (2 sigma)²)); 0 where they share none."""
    points, seen = detections.keypoints_NJ2, detections.confidence_NJ > 0
    squared_ONJ = np.sum((points[old][:, None] - points[new][None]) ** 2, axis=-1)
    area_O = np.maximum(np.prod(detections.box_N4[old][:, 2:], axis=-1), 1e-9)
    similar_ONJ = np.exp(-squared_ONJ / (2 * area_O[:, None, None] * (2 * SIGMA_J) ** 2))
    both_ONJ = seen[old][:, None] & seen[new][None]
    return (similar_ONJ * both_ONJ).sum(axis=-1) / np.maximum(both_ONJ.sum(axis=-1), 1)
