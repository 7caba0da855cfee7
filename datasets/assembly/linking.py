"""Link detections over time where a detector gives no track numbers.

Frame by frame, the people of the last frames are matched to the new detections so that the total similarity is greatest
(Hungarian method). The similarity of a pair is the IoU of the boxes plus the object keypoint similarity (OKS) of the
poses, as COCO defines it, over the joints that are observed in both. Pairs below a bound are never linked, so that a
person who leaves and another one who arrives remain two people.

Trackers give no number until they are sure. Numbers that some detections have are kept. The other detections are linked
to each other, to tracks that have a number, and to tracks that begin where they end.

The cost is linear in the number of frames, whatever the number of tracks.

Shapes: N detections, J = 17 joints of `h36m17`, O people of the last frames.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from motion_encoder.shapes import Float, Int
from motion_encoder.skeletons import H36M17

MAX_PEOPLE = 256
"""The largest number of people in one frame; with more, the table of pairs would fill the memory."""
_SIGMA = {
    "root": 0.107, "belly": 0.107, "hip": 0.107, "knee": 0.087, "ankle": 0.089, "neck": 0.079, "shoulder": 0.079,
    "elbow": 0.072, "wrist": 0.062, "nose": 0.026, "head": 0.035,
}  # fmt: skip
SIGMA_J = np.array([_SIGMA.get(joint, _SIGMA.get(joint[1:], np.nan)) for joint in H36M17.joints])
"""Standard deviation of COCO's annotators in box sizes (cocodataset.org, keypoint evaluation)."""


@dataclass(frozen=True, kw_only=True)
class TrackingLimits:
    """Bounds within which two detections may be the same person."""

    max_gap: int = 15
    """Longest gap in a track, in frames; half a second at 30 Hz. If frames with detections are usually farther apart,
    as when a detector ran on every 20th frame, only the last of them is considered."""
    min_similarity: float = 0.3
    """Smallest similarity of a linked pair: IoU plus OKS, at most 2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """People found in a video, in any order."""

    frame_N: Int[np.ndarray, "N"]
    box_N4: Float[np.ndarray, "N 4"]
    """Left, top, width and height in pixels."""
    keypoints_NJ2: Float[np.ndarray, "N 17 2"]
    confidence_NJ: Float[np.ndarray, "N 17"]


def assign_track_ids(
    detections: Detections, given_N: Int[np.ndarray, "N"], limits: TrackingLimits | None = None
) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
    """Return a track number for each detection, and a description of what was linked.

    ``given_N`` holds the detector's track numbers, -1 for none. They are kept unless one occurs twice in a frame: then
    they do not identify people, and all detections are linked.

    Raises:
        ValueError: More than 256 people in one frame.
    """
    has_N = given_N >= 0
    twice = int(has_N.sum()) - np.unique(np.stack([detections.frame_N, given_N])[:, has_N], axis=1).shape[1]
    if has_N.all() and not twice:
        return given_N, ()
    how = "linked over time by box and pose"
    if twice:
        said = f"track numbers stand twice in a frame, {twice} times, and are not used: people {how}"
        return link(detections, limits), (said,)
    missing = f"{(~has_N).sum()} of {len(has_N)} detections without a track number" if has_N.any() else ""
    said = f"{missing}: {how}" if missing else f"no track numbers: people {how}"
    return link(detections, limits, given_N=given_N), (said,)


def link(
    detections: Detections, limits: TrackingLimits | None = None, *, given_N: Int[np.ndarray, "N"] | None = None
) -> Int[np.ndarray, "N"]:
    """Return a track number for each detection: the given one, or a new one in the order in which people appear.

    ``given_N`` holds the known numbers, each at most once per frame, and -1 elsewhere.

    Raises:
        ValueError: More than 256 people in one frame.
    """
    limits = limits or TrackingLimits()
    track_N = np.full(len(detections.frame_N), -1) if given_N is None else given_N.copy()
    first_new = unused = int(track_N.max(initial=-1)) + 1
    newest: dict[int, int] = {}  # the last detection of each recent track
    met: set[int] = set()
    named: dict[int, int] = {}
    for since, people in _frames(detections.frame_N, limits.max_gap):
        newest = {track: n for track, n in newest.items() if detections.frame_N[n] >= since}
        given = {int(track_N[n]) for n in people} - {-1}
        old = [track for track in newest if track not in given]
        new = [n for n in people if int(track_N[n]) not in met]
        similarity_ON = _similarity(detections, [newest[track] for track in old], new)
        both_given_ON = (np.array(old) < first_new)[:, None] & (track_N[new] >= 0)
        similarity_ON[both_given_ON] = -1
        for row, column in zip(*linear_sum_assignment(similarity_ON, maximize=True), strict=True):
            track, n = old[row], new[column]
            if similarity_ON[row, column] < limits.min_similarity:
                continue
            if track_N[n] < 0:
                track_N[n] = track
            else:  # a track without a number gets the one that begins here
                named[track] = int(track_N[n])
                del newest[track]
        for n in people:
            if track_N[n] < 0:
                track_N[n] = unused
                unused += 1
            newest[int(track_N[n])] = n
        met |= given
    return np.array([named.get(track, track) for track in track_N.tolist()], dtype=np.int64)


def measure_similarity(detections: Detections) -> float:
    """Return the median similarity of people to the most similar person in the frame before, from 0 to 2.

    Neighbouring frames of videos have 1.7 to 1.9, and every tenth frame has 1.2. Unrelated photographs have 0 (COCO),
    or 1.0 if each shows one person in the middle.
    """
    order_N = np.argsort(detections.frame_N, kind="stable")
    _, starts = np.unique(detections.frame_N[order_N], return_index=True)
    frames = [members.tolist() for members in np.split(order_N, starts[1:])]
    best = [_similarity(detections, old, new).max(axis=0) for old, new in itertools.pairwise(frames)]
    return float(np.median(np.concatenate(best))) if best else 0.0


def _frames(frame_N: Int[np.ndarray, "N"], max_gap: int) -> Iterator[tuple[int, list[int]]]:
    """The people of each frame, and the first frame from which earlier people can still be linked to them."""
    order_N = np.argsort(frame_N, kind="stable")
    frames, starts = np.unique(frame_N[order_N], return_index=True)
    usual_step = float(np.median(np.diff(frames))) if len(frames) > 2 else 1.0
    before = None
    for frame, people_N in zip(frames.tolist(), np.split(order_N, starts[1:]), strict=True):
        if len(people_N) > MAX_PEOPLE:
            raise ValueError(f"frame {frame}: expected at most {MAX_PEOPLE} people, found {len(people_N)}")
        since = frame - max_gap - 1
        yield min(since, before) if before is not None and frame - before < 2 * usual_step else since, people_N.tolist()
        before = frame


def _similarity(detections: Detections, old: list[int], new: list[int]) -> Float[np.ndarray, "O N"]:
    return _iou(detections.box_N4[old][:, None], detections.box_N4[new][None]) + _oks(detections, old, new)


def _iou(a: Float[np.ndarray, "*a 4"], b: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*ab"]:
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - common
    return common / np.maximum(union, 1e-9)


def _oks(detections: Detections, old: list[int], new: list[int]) -> Float[np.ndarray, "O N"]:
    """Mean of exp(-d² / (2 area (2 sigma)²)) over the joints observed in both; 0 if there are none."""
    points, seen = detections.keypoints_NJ2, detections.confidence_NJ > 0
    squared_ONJ = np.sum((points[old][:, None] - points[new][None]) ** 2, axis=-1)
    area_O = np.maximum(np.prod(detections.box_N4[old][:, 2:], axis=-1), 1e-9)
    similar_ONJ = np.exp(-squared_ONJ / (2 * area_O[:, None, None] * (2 * SIGMA_J) ** 2))
    both_ONJ = seen[old][:, None] & seen[new][None]
    return (similar_ONJ * both_ONJ).sum(axis=-1) / np.maximum(both_ONJ.sum(axis=-1), 1)
