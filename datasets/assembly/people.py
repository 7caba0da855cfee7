"""From a detector's output for the frames of one video to one sequence per person: what all detectors' readers share.

Joints are converted to `h36m17`, people without track numbers are linked, and each track is laid out over time: frames
without a detection are kept, with confidence 0. Track numbers are used as given, unless one occurs twice in a frame:
then they are not tracks, and all people are linked. timeline.py says when a track is split into tracklets, and which
rate a video has if its detector looked at every second frame. Detections may come in any order; if they are not sorted
by time, the repairs say so.

Rate and image size that a format does not state may come from a `video.json` (video_json.py); else 30 Hz are assumed,
and the repairs say so. Coordinates that are shares of the image become pixels, which needs the image size.

Memory: 0.7 kB a detection while they are put in order, then 0.25 kB; its JSON text has 0.9 kB with COCO's 17 keypoints
and 1.7 kB with Halpe's 26.

Shapes: N detections, K keypoints as published, T frames, J = 17 joints.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.linking import Detections, TrackingLimits, assign_track_ids
from datasets.assembly.timeline import MAX_FRAMES, lay_out, sampling_step, split_tracklets
from datasets.assembly.video_json import folder_of, sidecars, video_facts
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float, Int
from motion_encoder.skeletons import Conversion

ASSUMED_FPS = 30.0
MAX_PIXEL = 1e5
"""No image is wider; what lies farther out was not seen."""
MAX_SHARE = 2.0
"""A video in which most is nearer than this to the corner is not in pixels."""
MAX_MISSING_SECONDS = 0.5
"""So long may a person without a track number be missing and still be taken for the same."""
_MAX_GAP = 30
"""Frames, whatever the rate: the table of pairs must stay small."""
_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One person in one frame."""

    frame: int
    keypoints: Any
    """3 K numbers or K × 3: x, y, confidence, in pixels."""
    box: Any = None
    """Left, top, width, height in pixels; the extent of the keypoints where there is none."""
    track: int | None = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """What holds for all detections of a file."""

    recording: Recording
    conversions: Mapping[int, Conversion]
    """By the number of keypoints; what comes after a conversion's joints (hands, faces) is left out."""
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    may_be_outside: bool = False
    """Whether shares of the image may be negative: the detector guesses what the image does not show."""
    times_F: Float[np.ndarray, "F"] | None = None
    """Seconds of frames 0..F-1, ascending, where frames are not evenly spaced."""
    repairs: tuple[str, ...] = ()


def claim(files: Iterable[File], wanted: Callable[[File], bool], *, reader: str, source: Source) -> list[Recording]:
    """Return a recording for each file that is wanted, with the ``video.json`` of its folder."""
    files = list(files)
    facts = sidecars(files)
    return [
        Recording(
            path=file.path,
            reader=reader,
            source=source,
            companions=(facts[folder_of(file.path)],) if folder_of(file.path) in facts else (),
            size=file.size,
        )
        for file in files
        if wanted(file)
    ]


def track_number(value: Any) -> int | None:
    """Return a whole number from 0 on; anything else is no track number, and -1 is how many writers say that."""
    number = whole_number(value)
    return None if number is None or number < 0 else number


def whole_number(value: Any) -> int | None:
    """Return a whole number, also one that is written as 3.0; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and abs(value) < 2**62 and float(value).is_integer() else None


def joined(points: Any, scores: Any, where: str) -> Float[np.ndarray, "K 3"]:
    """Put points [K, 2 or more] and scores [K] or [K, 1] together.

    Raises:
        RecordingError: They are not such numbers.
    """
    try:
        xy = np.asarray(points, dtype=np.float64)
        score_K = np.asarray(scores, dtype=np.float64).reshape(-1)
        return np.column_stack([xy[:, :2].reshape(-1, 2), score_K])
    except (TypeError, ValueError, IndexError, OverflowError) as problem:
        raise error(where, "keypoints", "K points of x, y and K scores", str(problem)[:200]) from problem


def corners(box: Any) -> list[float] | None:
    """Return left, top, width, height of left, top, right, bottom, which may stand inside another list."""
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    numbers = isinstance(box, list) and all(isinstance(value, int | float) for value in box[:4])
    if not numbers or len(box) < 4:
        return None
    return [float(box[0]), float(box[1]), float(box[2]) - float(box[0]), float(box[3]) - float(box[1])]


def video_name(path: str) -> str:
    """Name a video by folder and file, as sequences are called."""
    return "/".join(PurePosixPath(path).parts[-2:])


def people(found: Iterable[Detection], video: Video) -> Iterator[MotionSequence]:
    """Yield one sequence per tracklet (person and appearance), in the order in which people appear.

    Raises:
        RecordingError: Nobody is in it, or something in it is no detection.
    """
    detections, given_N, mended = _gather(iter(found), video)
    facts = video_facts(video.recording)
    image_size = facts.image_size or video.image_size
    detections = _in_pixels(detections, video, image_size)
    fps = facts.fps or video.fps or ASSUMED_FPS
    if not (facts.fps or video.fps):
        mended += (f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",)
    if video.times_F is None and (step := sampling_step(detections.frame_N, fps)) > 1:
        detections, fps = replace(detections, frame_N=detections.frame_N // step), fps / step
        mended += (f"all frame numbers are {step} or a multiple of it apart: {fps:g} Hz",)
    track_N, linked = _tracks(detections, given_N, fps, video.recording.path)
    name = video_name(video.recording.path)
    for track, mine in _by_track(track_N):
        at_M = _seconds(detections.frame_N[mine], video.times_F, fps) * fps
        for part, tracklet in enumerate(split_tracklets(at_M, fps)):
            keypoints_TJ2, confidence_TJ = lay_out(
                at_M[tracklet], detections.keypoints_NJ2[mine[tracklet]], detections.confidence_NJ[mine[tracklet]]
            )
            yield MotionSequence(
                source=video.recording.source,
                sequence_id=f"{name}#{track}" + (f".{part}" if part else ""),
                subject=f"{video.recording.source}/{name}",
                fps=fps,
                keypoints_2d_TJC=keypoints_TJ2,
                confidence_TJ=confidence_TJ,
                image_size=image_size,
                repairs=(*mended, *linked, *video.repairs),
            )


def _gather(found: Iterator[Detection], video: Video) -> tuple[Detections, Int[np.ndarray, "N"], tuple[str, ...]]:
    """Convert the detections batch by batch, so that only what is kept of them lies in memory; order them by frame.

    With them come their track numbers, -1 for none, and what was mended.
    """
    path = video.recording.path
    conversion, keypoints, confidence, boxes, frames, given = None, [], [], [], [], []
    while batch := list(islice(found, _BATCH)):
        values_NK3 = _values(batch, path)
        conversion = conversion or _conversion(video, values_NK3.shape[1])
        if values_NK3.shape[1] != conversion[0]:
            counts = f"{conversion[0]} and {values_NK3.shape[1]}"
            raise error(path, "keypoints", "the same number in all entries", counts)
        values_NK3 = values_NK3[:, : len(conversion[1].source_joints)]
        boxes.append(_boxes(batch, values_NK3, path))
        keypoints_NJ2, confidence_NJ = conversion[1].convert(values_NK3[..., :2], values_NK3[..., 2])
        keypoints.append(keypoints_NJ2)
        confidence.append(confidence_NJ)
        frames += [each.frame for each in batch]
        given.append(np.array([-1 if each.track is None else each.track for each in batch], dtype=np.int64))
    if not frames:
        raise error(path, "detections", "at least one person", "none")
    if max(frames) - min(frames) >= MAX_FRAMES:
        span = f"numbers {min(frames)} to {max(frames)}"
        raise error(path, "image_id or frame", f"at most {MAX_FRAMES:,} frames", span)
    first = min(frames) if video.times_F is None else 0
    frame_N = np.array([frame - first for frame in frames])
    order_N = np.argsort(frame_N, kind="stable")
    detections = Detections(
        frame_N=frame_N[order_N],
        box_N4=np.concatenate(boxes)[order_N],
        keypoints_NJ2=np.concatenate(keypoints)[order_N],
        confidence_NJ=np.concatenate(confidence)[order_N],
    )
    sorted_already = bool((np.diff(frame_N) >= 0).all())
    return detections, np.concatenate(given)[order_N], () if sorted_already else ("not in the order of time: sorted",)


def _values(batch: list[Detection], path: str) -> Float[np.ndarray, "N K 3"]:
    """What was not seen, or not finite, becomes 0, 0, 0; confidences end in 0 to 1."""
    try:
        rows = [np.asarray(each.keypoints, dtype=np.float64).ravel() for each in batch]
    except (TypeError, ValueError, OverflowError) as problem:
        raise error(path, "keypoints", "numbers", str(problem)[:200]) from problem
    sizes = {len(row) for row in rows}
    if len(sizes) > 1 or min(sizes) % 3:
        expected = "x, y, confidence of the same number of keypoints in all entries"
        raise error(path, "keypoints", expected, f"lists of {sorted(sizes)} numbers")
    values_NK3 = np.array(rows).reshape(len(batch), -1, 3)
    seen_NK = np.isfinite(values_NK3).all(axis=-1) & (np.abs(values_NK3[..., :2]) < MAX_PIXEL).all(axis=-1)
    seen_NK &= values_NK3[..., 2] > 0
    values_NK3 = np.where(seen_NK[..., None], values_NK3, 0)
    values_NK3[..., 2] = np.minimum(values_NK3[..., 2], 1)
    return values_NK3.astype(np.float32)


def _conversion(video: Video, count: int) -> tuple[int, Conversion]:
    if count not in video.conversions:
        known = " or ".join(map(str, video.conversions))
        raise error(video.recording.path, "keypoints", f"{known} keypoints a person", f"{count}")
    return count, video.conversions[count]


def _boxes(batch: list[Detection], values_NK3: Float[np.ndarray, "N K 3"], path: str) -> Float[np.ndarray, "N 4"]:
    try:
        pairs = zip(batch, values_NK3, strict=True)
        raw = [each.box if _is_box(each.box) else _extent(values_K3) for each, values_K3 in pairs]
        return np.array(raw, dtype=np.float64).reshape(len(batch), 4)
    except (TypeError, ValueError, OverflowError) as problem:
        raise error(path, "box", "4 numbers", str(problem)[:200]) from problem


def _is_box(box: Any) -> bool:
    if box is None or len(box) == 0:
        return False
    return len(box) != 4 or bool(np.all(np.abs(np.asarray(box, dtype=np.float64)) < MAX_PIXEL))


def _extent(values_K3: Float[np.ndarray, "K 3"]) -> list[float]:
    seen_K2 = values_K3[values_K3[:, 2] > 0, :2]
    if len(seen_K2) == 0:
        return [0.0, 0.0, 0.0, 0.0]
    return [*seen_K2.min(axis=0).tolist(), *np.ptp(seen_K2, axis=0).tolist()]


def _in_pixels(detections: Detections, video: Video, image_size: tuple[int, int] | None) -> Detections:
    points_NJ2 = detections.keypoints_NJ2
    seen = points_NJ2[detections.confidence_NJ > 0]
    if len(seen) == 0 or np.median(np.abs(seen)) > MAX_SHARE:
        return detections
    signed = not video.may_be_outside and float(np.quantile(seen, 0.05)) < -0.1
    if image_size is None or signed:
        raise RecordingError(
            video.recording.path,
            where="keypoints",
            expected="pixels, or shares of the image and its size",
            found="numbers from -1 to 1" if signed else "numbers from 0 to 1",
            fix='Put a file video.json beside it: {"width": 1920, "height": 1080}; -1 to 1 cannot be read.',
        )
    scale = np.array(image_size, dtype=np.float32)
    return replace(
        detections, keypoints_NJ2=points_NJ2 * scale, box_N4=detections.box_N4 * np.tile(scale.astype(np.float64), 2)
    )


def _tracks(
    detections: Detections, given_N: Int[np.ndarray, "N"], fps: float, path: str
) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
    max_gap = round(max(0.0, min(_MAX_GAP, MAX_MISSING_SECONDS * fps)))
    try:
        return assign_track_ids(detections, given_N, TrackingLimits(max_gap=max_gap))
    except ValueError as problem:
        raise error(path, "people", "a video", str(problem)) from problem


def _by_track(track_N: Int[np.ndarray, "N"]) -> Iterator[tuple[int, Int[np.ndarray, "M"]]]:
    """Tracks in the order in which they begin, with their detections in the order of time."""
    order_N = np.argsort(track_N, kind="stable")
    tracks, starts = np.unique(track_N[order_N], return_index=True)
    members = np.split(order_N, starts[1:])
    for index in np.argsort([mine[0] for mine in members], kind="stable"):
        yield int(tracks[index]), members[index]


def _seconds(
    frame_M: Int[np.ndarray, "M"], times_F: Float[np.ndarray, "F"] | None, fps: float
) -> Float[np.ndarray, "M"]:
    return frame_M / fps if times_F is None else times_F[frame_M]


def error(path: str, where: str, expected: str, found: str) -> RecordingError:
    """Return what a detector's file gets that cannot be used."""
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Run the detector again, or fetch the file anew."
    )
