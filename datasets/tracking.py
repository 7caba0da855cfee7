"""Link a detector's people over time, for detections that carry no track number.

Frame by frame, the people seen lately are matched to the new detections so that the summed cost is least (Hungarian
method); the cost of a pair is the mean of (1 - IoU of the boxes) and (mean distance of the joints both see, over the
box's size, at most 1). Pairs above a bound are never linked: a person who leaves and somebody who comes stay two.

Shapes: N detections, K keypoints.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from motion_encoder.shapes import Float, Int


@dataclass(frozen=True, kw_only=True)
class TrackingLimits:
    """When two detections may be the same person."""

    max_gap: int = 15
    """Frames that a person may be missing and still be taken for the same; half a second at 30 Hz."""
    max_cost: float = 0.7
    """Boxes that do not meet cost 0.5 or more; 0.7 then asks that the pose moved by less than 0.4 box sizes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """People found in a video, in any order."""

    frame_N: Int[np.ndarray, "N"]
    box_N4: Float[np.ndarray, "N 4"]
    """Left, top, width, height in pixels."""
    keypoints_NK2: Float[np.ndarray, "N K 2"]
    confidence_NK: Float[np.ndarray, "N K"]


def link(detections: Detections, limits: TrackingLimits | None = None) -> Int[np.ndarray, "N"]:
    """Return a track number for each detection, from 0, in the order in which people appear."""
    limits = limits or TrackingLimits()
    track_N = np.full(len(detections.frame_N), -1)
    last_seen: list[int] = []  # per track, its newest detection
    for frame in np.unique(detections.frame_N):
        new = [int(n) for n in np.flatnonzero(detections.frame_N == frame)]
        alive = [t for t, n in enumerate(last_seen) if frame - detections.frame_N[n] <= limits.max_gap + 1]
        cost = _costs(detections, [last_seen[t] for t in alive], new)
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if cost[row, column] <= limits.max_cost:
                track_N[new[column]] = alive[row]
                last_seen[alive[row]] = new[column]
        for n in new:
            if track_N[n] < 0:
                track_N[n] = len(last_seen)
                last_seen.append(n)
    return track_N


def _costs(detections: Detections, old: list[int], new: list[int]) -> Float[np.ndarray, "O N"]:
    overlap = _iou(detections.box_N4[old][:, None], detections.box_N4[new][None])
    return (1 - overlap + np.minimum(_pose_distance(detections, old, new), 1)) / 2


def _iou(a: Float[np.ndarray, "*a 4"], b: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*ab"]:
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - common
    return common / np.maximum(union, 1e-9)


def _pose_distance(detections: Detections, old: list[int], new: list[int]) -> Float[np.ndarray, "O N"]:
    """Mean distance of the joints that both see, in box sizes (root of the area); 1 where they share none."""
    points, seen = detections.keypoints_NK2, detections.confidence_NK > 0
    distance_ONK = np.linalg.norm(points[old][:, None] - points[new][None], axis=-1)
    both_ONK = seen[old][:, None] & seen[new][None]
    shared_ON = both_ONK.sum(axis=-1)
    size_O = np.sqrt(np.prod(detections.box_N4[old][:, 2:], axis=-1))
    mean_ON = (distance_ONK * both_ONK).sum(axis=-1) / np.maximum(shared_ON, 1)
    return np.where(shared_ON > 0, mean_ON / np.maximum(size_O, 1e-9)[:, None], 1.0)
