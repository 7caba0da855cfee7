"""AlphaPose results: one flat JSON list of people found in the frames of one video, in pixels.

What the format does not say is mended and stated in ``repairs``: the frame rate (30 Hz assumed) and, unless tracking
was on, who is who (``idx`` is then no track number: people are linked over time by box and pose). The frame is the
number in ``image_id``, which is not zero-padded; frames without a detection stay, with confidence 0. Confidences above
1 (up to 1.1 occur) are cut to 1.

Shapes: N detections, K keypoints as published (17 COCO or 26 Halpe), T frames of one track, J = 17 joints.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from datasets.files import read_bytes
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from datasets.sources.catalogue import identify
from datasets.tracking import Detections, link
from motion_encoder.shapes import Float, Int
from motion_encoder.skeletons import COCO17_TO_H36M17, HALPE26_TO_H36M17, Conversion

ASSUMED_FPS = 30.0
MAX_FRAMES = 1_000_000
"""Nine hours; a wider span of frame numbers is no video, but names that mean something else."""
CONVERSIONS: dict[int, Conversion] = {17: COCO17_TO_H36M17, 26: HALPE26_TO_H36M17}
SNIFFED_BYTES = 65_536
"""Enough to see all keys of the first detection, with 136 keypoints too."""
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT")


class AlphaPoseReader:
    """Reads AlphaPose result files; each person's track is one sequence."""

    name = "alphapose"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files that begin like a result list, told by their first bytes."""
        return [
            Recording(path=file.path, reader=self.name, source=identify(file.path, "alphapose").source, size=file.size)
            for file in files
            if file.path.lower().endswith(".json") and looks_like_results(read_bytes(file.path, first=SNIFFED_BYTES))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per person, in the order in which people appear."""
        entries = _entries(read_bytes(recording.path), recording.path)
        detections, conversion = _detections(entries, recording.path)
        track_N, who_is_who = _tracks(entries, detections)
        identity = identify(recording.path, "alphapose")
        for track in dict.fromkeys(track_N.tolist()):
            keypoints_TJ2, confidence_TJ = _one_person(detections, track_N == track, conversion)
            yield MotionSequence(
                source=recording.source,
                sequence_id=f"{identity.sequence_id}#{track}",
                subject=identity.subject,
                fps=ASSUMED_FPS,
                keypoints_2d_TJC=keypoints_TJ2,
                confidence_TJ=confidence_TJ,
                repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed", *who_is_who),
            )


READER = AlphaPoseReader()


def looks_like_results(head: bytes) -> bool:
    """Tell a result list by the first bytes of a JSON file."""
    return re.match(rb"\s*\[\s*\{", head) is not None and b'"image_id"' in head and b'"keypoints"' in head


def frame_number(image_id: Any, path: str) -> int:
    """Return the frame that an ``image_id`` names: the last number in the file's name."""
    if isinstance(image_id, int):
        return image_id
    name = str(image_id).rpartition("/")[2]
    numbers = re.findall(r"\d+", name.rpartition(".")[0] or name)
    if not numbers or _TIMESTAMP.search(name):
        raise _error(path, "image_id", "a name with the frame's number, such as 123.jpg", repr(image_id))
    return int(numbers[-1])


def _entries(content: bytes, path: str) -> list[dict[str, Any]]:
    """Return the list's entries, ordered by frame; entries of one frame keep their order."""
    try:
        entries = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _error(path, "JSON", "a complete list", str(error)) from error
    for position, entry in enumerate(entries):
        if not (isinstance(entry, dict) and "image_id" in entry and isinstance(entry.get("keypoints"), list)):
            found = f"the keys {sorted(entry)}" if isinstance(entry, dict) else repr(entry)[:80]
            raise _error(path, f"entry {position}", "image_id and a list of keypoints", found)
    numbers = {frame_number(entry["image_id"], path) for entry in entries}
    if max(numbers) - min(numbers) >= MAX_FRAMES:
        raise _error(path, "image_id", f"at most {MAX_FRAMES:,} frames", f"numbers {min(numbers)} to {max(numbers)}")
    return sorted(entries, key=lambda entry: frame_number(entry["image_id"], path))


def _detections(entries: list[dict[str, Any]], path: str) -> tuple[Detections, Conversion]:
    counts = sorted({len(entry["keypoints"]) for entry in entries})
    if len(counts) != 1 or counts[0] % 3 or counts[0] // 3 not in CONVERSIONS:
        expected = f"{' or '.join(map(str, CONVERSIONS))} keypoints of x, y, confidence, the same in all entries"
        raise _error(path, "keypoints", expected, f"lists of {counts} numbers")
    try:
        values_NK3 = np.array([entry["keypoints"] for entry in entries], dtype=np.float32).reshape(len(entries), -1, 3)
        boxes = [entry.get("box") or _extent(values_K3) for entry, values_K3 in zip(entries, values_NK3, strict=True)]
        box_N4 = np.array(boxes, dtype=np.float32).reshape(len(entries), 4)
    except (TypeError, ValueError) as error:
        raise _error(path, "keypoints and box", "numbers", str(error)) from error
    seen_NK = np.all(np.isfinite(values_NK3), axis=-1)
    detections = Detections(
        frame_N=np.array([frame_number(entry["image_id"], path) for entry in entries]),
        box_N4=box_N4,
        keypoints_NK2=np.where(seen_NK[..., None], values_NK3[..., :2], 0).astype(np.float32),
        confidence_NK=np.where(seen_NK, np.clip(values_NK3[..., 2], 0, 1), 0).astype(np.float32),
    )
    return detections, CONVERSIONS[counts[0] // 3]


def _extent(values_K3: Float[np.ndarray, "K 3"]) -> list[float]:
    seen_K2 = values_K3[values_K3[:, 2] > 0, :2]
    if len(seen_K2) == 0:
        return [0.0, 0.0, 0.0, 0.0]
    return [*seen_K2.min(axis=0).tolist(), *np.ptp(seen_K2, axis=0).tolist()]


def _tracks(entries: list[dict[str, Any]], detections: Detections) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
    """Trust ``idx`` if it is a whole number that varies and names nobody twice in a frame; else link."""
    numbers = [_whole_number(entry.get("idx")) for entry in entries]
    given = [number for number in numbers if number is not None]
    in_frames = set(zip(detections.frame_N.tolist(), given, strict=False))
    if len(in_frames) == len(given) == len(entries) and len(set(given)) > 1:
        return np.array(given), ()
    return link(detections), ("no track numbers: people linked over time by box and pose",)


def _whole_number(value: Any) -> int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and float(value).is_integer() else None


def _one_person(
    detections: Detections, mine_N: np.ndarray, conversion: Conversion
) -> tuple[Float[np.ndarray, "T 17 2"], Float[np.ndarray, "T 17"]]:
    """Lay a track's detections out over time; frames in between that have none get confidence 0."""
    frame_N = detections.frame_N[mine_N]
    keypoints_NJ2 = conversion.positions(detections.keypoints_NK2[mine_N])
    confidence_NJ = conversion.confidence(detections.confidence_NK[mine_N])
    at_N = frame_N - frame_N[0]
    keypoints_TJ2 = np.zeros((int(at_N[-1]) + 1, *keypoints_NJ2.shape[1:]), np.float32)
    confidence_TJ = np.zeros(keypoints_TJ2.shape[:2], np.float32)
    keypoints_TJ2[at_N] = keypoints_NJ2 * (confidence_NJ > 0)[..., None]
    confidence_TJ[at_N] = confidence_NJ
    return keypoints_TJ2, confidence_TJ


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(
        path, where=where, expected=expected, found=found, fix="Run the detector again, or fetch the file anew."
    )
