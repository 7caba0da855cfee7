"""COCO person keypoints: annotations (https://cocodataset.org/#format-data) and detectors' result lists, in pixels.

Every person is a still: a sequence of one frame, to which any frame rate applies. Crowds (``iscrowd``) and persons
without a labelled joint (``num_keypoints`` 0) are no poses and are passed over. A joint that is labelled but hidden
(visibility 1) is a person's guess: confidence 0.5; one that is seen (2) has 1. Where a writer put a score in its place,
the score is the confidence, in result lists cut to 0 to 1.

Traps: ``images`` may hold one entry per annotation instead of one per image, and may come after the annotations; joint
names stand at the very end of the published files; files of other data sets have the same layout and other joints. A
result list is told from AlphaPose's by whole-number image ids and the lack of ``box`` and ``idx``.

Shapes: K = 17 joints of COCO, J = 17 joints.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HIDDEN_CONFIDENCE
from datasets.readers.detectors.coco_layout import COCO_NAMES, error, joint_names, keypoint_values, members, size_of
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float

COCO = Source(
    name="coco",
    kind="detections",
    licence="annotations CC BY 4.0 (COCO Consortium); images under Flickr's terms",
    url="https://cocodataset.org/#download",
    test_subjects=frozenset({"coco/val2014", "coco/val2017"}),
)
COCO_LAYOUT = Source(
    name="coco_layout",
    kind="detections",
    licence_note="files in COCO's layout",
    url="https://cocodataset.org/#format-data",
)
SOURCES = (COCO, COCO_LAYOUT)

STILL_FPS = 30.0
_PUBLISHED = re.compile(r"(?:^|/)person_keypoints_(?P<part>(?:train|val)20(?:14|17))\.json$")


class CocoReader:
    """Reads COCO keypoint files; each person in each image is one sequence of one frame."""

    name = "coco"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files that declare COCO's joints by name, and result lists of 17 joints."""
        return [
            Recording(path=file.path, reader=self.name, source=_source(file.path), size=file.size)
            for file in files
            if joint_names(file) == COCO_NAMES or (file.path.lower().endswith(".json") and is_result_list(head(file)))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per person, in the order of the file; one annotation is in memory at a time."""
        path = recording.path
        results = head(File(path, recording.size)).lstrip()[:1] == b"["
        sizes = {} if results else image_sizes(path)
        subset = _PUBLISHED.search(path)
        name = "/".join(PurePosixPath(path).parts[-2:])
        subject = f"{COCO.name}/{subset['part']}" if subset else f"{COCO_LAYOUT.name}/{name}"
        for position, person in enumerate(members(path, "" if results else "annotations")):
            where = f"{'result' if results else 'annotation'} {position}"
            if not isinstance(person, dict) or not isinstance(person.get("image_id"), int | str):
                raise error(path, where, "an object with an image_id", repr(person)[:80])
            if not results and not _is_pose(person):
                continue
            keypoints_1J2, confidence_1J = _pose(person.get("keypoints"), results=results, path=path, where=where)
            yield MotionSequence(
                source=recording.source,
                sequence_id=f"{name}#{person['image_id']}.{position}",
                subject=subject,
                fps=STILL_FPS,
                keypoints_2d_TJC=keypoints_1J2,
                confidence_TJ=confidence_1J,
                image_size=sizes.get(person["image_id"]),
                repairs=(f"a still: {STILL_FPS:g} Hz stands for its rate",),
            )


READER = CocoReader()


def is_result_list(start: bytes) -> bool:
    """Tell a list of COCO results by the first bytes of a JSON file: its first entry says it all."""
    text = start.decode("utf-8", errors="replace")
    bracket = re.match(r"\s*\[\s*(?=\{)", text)
    if bracket is None:
        return False
    try:
        first, _ = json.JSONDecoder().raw_decode(text, bracket.end())
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(first.get("image_id"), int)
        and {"category_id", "score"} <= set(first)
        and not {"box", "idx"} & set(first)
        and isinstance(first.get("keypoints"), list)
        and len(first["keypoints"]) == 3 * len(COCO_NAMES)
    )


def image_sizes(path: str) -> dict[int | str, tuple[int, int]]:
    """Return (width, height) by image id, of the images that state it; entries that repeat count once."""
    sizes: dict[int | str, tuple[int, int]] = {}
    for image in members(path, "images"):
        if isinstance(image, dict) and isinstance(image.get("id"), int | str) and (size := size_of(image)):
            sizes[image["id"]] = size
    return sizes


def _is_pose(annotation: dict[str, Any]) -> bool:
    return "keypoints" in annotation and not annotation.get("iscrowd") and annotation.get("num_keypoints") != 0


def _pose(
    keypoints: Any, *, results: bool, path: str, where: str
) -> tuple[Float[np.ndarray, "1 17 2"], Float[np.ndarray, "1 17"]]:
    values_K3 = keypoint_values(keypoints, path=path, where=where)
    score_K = np.clip(values_K3[:, 2], 0, 1) if results else _label_confidence(values_K3[:, 2], path, where)
    return COCO17_TO_H36M17.convert(values_K3[None, :, :2], score_K[None])


def _label_confidence(label_K: Float[np.ndarray, "K"], path: str, where: str) -> Float[np.ndarray, "K"]:
    """Confidence of visibilities 0, 1, 2; fractions from 0 to 1 are scores already."""
    if np.all(np.isin(label_K, (0, 1, 2))):
        return np.where(label_K == 1, HIDDEN_CONFIDENCE, label_K / 2).astype(np.float32)
    if label_K.min() < 0 or label_K.max() > 1:
        raise error(path, where, "visibilities 0, 1 or 2, or scores from 0 to 1", str(label_K.tolist())[:120])
    return label_K


def _source(path: str) -> Source:
    return COCO if _PUBLISHED.search(path) else COCO_LAYOUT
