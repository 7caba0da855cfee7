"""Convert a detector's output for one video to one sequence per person; shared by the readers of all detectors.

Joints are converted to `h36m17`, people without track numbers are linked, and each track is laid out over time: frames
without a detection are kept, with confidence 0. Track numbers are used as given, unless one occurs twice in a frame:
then they do not identify people, and all detections are linked. ``timeline.py`` splits tracks into tracklets, and finds
the rate if the detector ran on every second frame only. Detections may come in any order; if they are not sorted by
time, the repairs say so.

A rate or image size that a format does not state may come from a `video.json` (``video_json.py``). Without it 30 Hz are
assumed, and the repairs say so. ``pixels.py`` converts positions to pixels.

Memory: 0.7 kB per detection while they are sorted, 0.25 kB afterwards; as JSON text, a detection has 0.9 kB with COCO's
17 keypoints and 1.7 kB with Halpe's 26.

Shapes: N detections, K keypoints as published, T frames, J = 17 joints.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.assembly.linking import Detections, TrackingLimits, assign_track_ids
from datasets.assembly.pixels import in_pixels, not_of_an_image
from datasets.assembly.timeline import MAX_FRAMES, lay_out, sampling_step, split_tracklets
from datasets.assembly.video_json import find_video_jsons, folder_of, read_video_json
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float, Int
from motion_encoder.skeletons import Conversion

ASSUMED_FPS = 30.0
MAX_PIXEL = 1e5
"""Pixels; larger than any image, so joints farther out count as not observed."""
MAX_MISSING_SECONDS = 0.5
"""Seconds; longest gap over which a person without a track number is linked."""
_MAX_GAP = 30
"""Frames; longest gap at any rate, so that the table of pairs stays small."""
_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One person in one frame."""

    frame: int
    keypoints: Any
    """x, y (pixels) and confidence of each keypoint: 3 K numbers, or K × 3."""
    box: Any = None
    """Left, top, width and height in pixels; None means the extent of the keypoints."""
    track: int | None = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """Properties that all detections of a file share."""

    recording: Recording
    conversions: Mapping[int, Conversion]
    """Conversions by number of keypoints; keypoints after a conversion's joints (hands, faces) are ignored."""
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    may_be_outside: bool = False
    """Whether normalised coordinates may be negative, because the detector extrapolates outside the image."""
    times_F: Float[np.ndarray, "F"] | None = None
    """Ascending times of frames 0 to F - 1 in seconds, if frames are not evenly spaced."""
    repairs: tuple[str, ...] = ()


def claim(files: Iterable[File], wanted: Callable[[File], bool], *, reader: str, source: Source) -> list[Recording]:
    """Return a recording for each file that ``wanted`` accepts, with the ``video.json`` of its folder."""
    files = list(files)
    facts = find_video_jsons(files)
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


def parse_track_number(value: Any) -> int | None:
    """Return a track number, which is an integer from 0 on; None for anything else, such as the -1 of many tools."""
    number = parse_integer(value)
    return None if number is None or number < 0 else number


def parse_integer(value: Any) -> int | None:
    """Return an integer, also if it is written as 3.0; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and abs(value) < 2**62 and float(value).is_integer() else None


def joined(points: Any, scores: Any, where: str) -> Float[np.ndarray, "K 3"]:
    """Join points [K, 2] and scores [K] or [K, 1].

    Raises:
        RecordingError: They do not have these shapes, or the points have a third coordinate.
    """
    try:
        points_KC = np.asarray(points, dtype=np.float64)
        score_K = np.asarray(scores, dtype=np.float64).reshape(-1)
        points_K3 = np.column_stack([points_KC[:, :2].reshape(-1, 2), score_K])
    except (TypeError, ValueError, IndexError, OverflowError) as problem:
        raise error(where, "keypoints", "K points of x, y and K scores", str(problem)[:200]) from problem
    if points_KC.shape[1] == 3:
        raise not_of_an_image(where, "keypoints", "three coordinates a keypoint, so a 3D prediction")
    return points_K3


def corners(box: Any) -> list[float] | None:
    """Return left, top, width, height of a box [left, top, right, bottom], which may be nested in another list."""
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    numbers = isinstance(box, list) and all(isinstance(value, int | float) for value in box[:4])
    if not numbers or len(box) < 4:
        return None
    return [float(box[0]), float(box[1]), float(box[2]) - float(box[0]), float(box[3]) - float(box[1])]


def video_name(path: str) -> str:
    """Return the name of a video, made of its folder and file, that its sequences get."""
    return "/".join(PurePosixPath(path).parts[-2:])


def people(found: Iterable[Detection], video: Video) -> Iterator[MotionSequence]:
    """Yield one sequence per tracklet (person and appearance), in the order in which people appear.

    Raises:
        RecordingError: There are no detections, or some of them are invalid.
    """
    path = video.recording.path
    detections, given_N, repairs = gather(iter(found), video.conversions, path)
    facts = read_video_json(video.recording)
    image_size = facts.image_size or video.image_size
    detections = in_pixels(detections, image_size, path, may_be_outside=video.may_be_outside)
    fps = facts.fps or video.fps or ASSUMED_FPS
    if not (facts.fps or video.fps):
        repairs += (f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed",)
    if video.times_F is None and (step := sampling_step(detections.frame_N, fps)) > 1:
        detections, fps = replace(detections, frame_N=detections.frame_N // step), fps / step
        repairs += (f"all frame numbers are {step} or a multiple of it apart: {fps:g} Hz",)
    track_N, linked = _tracks(detections, given_N, fps, path)
    name = video_name(path)
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
                repairs=(*repairs, *linked, *video.repairs),
            )


def gather(
    found: Iterator[Detection], conversions: Mapping[int, Conversion], path: str
) -> tuple[Detections, Int[np.ndarray, "N"], tuple[str, ...]]:
    """Convert detections batch by batch, to keep only the converted ones in memory, and sort them by frame.

    Frames are counted from the first one. Returns the detections, their track numbers (-1 for none) and the repairs.
    ``path`` is for messages.

    Raises:
        RecordingError: There are no detections, or some of them are invalid.
    """
    conversion, keypoints, confidence, boxes, frames, given = None, [], [], [], [], []
    while batch := list(islice(found, _BATCH)):
        values_NK3 = _values(batch, path)
        conversion = conversion or _conversion(conversions, values_NK3.shape[1], path)
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
    first = min(frames)
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
    """Keypoints as an array: 0, 0, 0 where not observed or not finite; confidences are clipped to 0 to 1."""
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


def _conversion(conversions: Mapping[int, Conversion], count: int, path: str) -> tuple[int, Conversion]:
    if count not in conversions:
        known = " or ".join(map(str, conversions))
        raise error(path, "keypoints", f"{known} keypoints a person", f"{count}")
    return count, conversions[count]


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


def _tracks(
    detections: Detections, given_N: Int[np.ndarray, "N"], fps: float, path: str
) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
    max_gap = round(max(0.0, min(_MAX_GAP, MAX_MISSING_SECONDS * fps)))
    try:
        return assign_track_ids(detections, given_N, TrackingLimits(max_gap=max_gap))
    except ValueError as problem:
        raise error(path, "people", "a video", str(problem)) from problem


def _by_track(track_N: Int[np.ndarray, "N"]) -> Iterator[tuple[int, Int[np.ndarray, "M"]]]:
    """Tracks in the order in which they begin, with their detections sorted by time."""
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
    """Return the error for a detector's file that cannot be used."""
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Run the detector again, or fetch the file again."
    )
