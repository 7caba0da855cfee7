"""COCO person keypoints: annotations (https://cocodataset.org/#format-data) and detectors' result lists, in pixels.

Every person is a still: a sequence of one frame, for which the frame rate has no meaning. Crowds (``iscrowd``) and
people without a labelled joint (``num_keypoints`` 0) have no pose and are left out. A joint that is labelled but hidden
(visibility 1) was guessed by an annotator: confidence 0.5; a visible one (2) has 1. If a tool wrote a score instead of
the visibility, the score is the confidence, clipped to 0 to 1 in result lists.

Result lists of photographs are read here, and those of a video's frames by ``alphapose``: result_lists.py distinguishes
them. If it cannot, the keys decide: lists with integer image ids and neither ``box`` nor ``idx`` are COCO's.

Traps: ``images`` may have one entry per annotation instead of one per image, and may come after the annotations; joint
names are at the very end of the published files; files of other data sets have the same layout and other joints.

Shapes: K joints of COCO (17) or of a detector, J = 17 joints.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.files import head
from datasets.joints.tables import COCO17_TO_H36M17, HIDDEN_CONFIDENCE
from datasets.readers.detectors.coco_layout import COCO_NAMES, error, joint_names, members, parse_keypoints, size_of
from datasets.readers.detectors.result_lists import CONVERSIONS, classify_images, entries, looks_like_results
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import Conversion

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
        """Claim JSON files that declare COCO's joints by name, and result lists of photographs."""
        return [
            Recording(path=file.path, reader=self.name, source=_source(file.path), size=file.size)
            for file in files
            if joint_names(file) == COCO_NAMES or _has_results_of_stills(file)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per person, in the order of the file; one person is in memory at a time."""
        path = recording.path
        results = looks_like_results(head(File(path, recording.size)))
        sizes = {} if results else read_image_sizes(path)
        subset = _PUBLISHED.search(path)
        name = "/".join(PurePosixPath(path).parts[-2:])
        subject = f"{COCO.name}/{subset['part']}" if subset else f"{COCO_LAYOUT.name}/{name}"
        for position, image, (keypoints_1J2, confidence_1J) in _results(path) if results else _annotations(path):
            yield MotionSequence(
                source=recording.source,
                sequence_id=f"{name}#{image}.{position}",
                subject=subject,
                fps=STILL_FPS,
                keypoints_2d_TJC=keypoints_1J2,
                confidence_TJ=confidence_1J,
                image_size=sizes.get(image),
                repairs=(f"a still: {STILL_FPS:g} Hz stands for its rate",),
            )


READER = CocoReader()


def _has_results_of_stills(file: File) -> bool:
    if not (file.path.lower().endswith(".json") and looks_like_results(head(file))):
        return False
    meant = classify_images(file)
    return meant == "stills" or (meant == "unknown" and _is_coco_result(head(file)))


def _is_coco_result(start: bytes) -> bool:
    """Tell by the first entry of a JSON list whether COCO's own tools wrote it."""
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


def read_image_sizes(path: str) -> dict[int | str, tuple[int, int]]:
    """Return (width, height) by image id for the images that state it."""
    sizes: dict[int | str, tuple[int, int]] = {}
    for image in members(path, "images"):
        if isinstance(image, dict) and isinstance(image.get("id"), int | str) and (size := size_of(image)):
            sizes[image["id"]] = size
    return sizes


Pose = tuple[Float[np.ndarray, "1 17 2"], Float[np.ndarray, "1 17"]]


def _annotations(path: str) -> Iterator[tuple[int, int | str, Pose]]:
    """Position, image and pose of each annotation that has one."""
    for position, person in enumerate(members(path, "annotations")):
        where = f"annotation {position}"
        if not isinstance(person, dict) or not isinstance(person.get("image_id"), int | str):
            raise error(path, where, "an object with an image_id", repr(person)[:80])
        if "keypoints" not in person or person.get("iscrowd") or person.get("num_keypoints") == 0:
            continue
        values_K3 = parse_keypoints(person["keypoints"], path=path, where=where)
        yield position, person["image_id"], _pose(values_K3, _label_confidence(values_K3[:, 2], path, where))


def _results(path: str) -> Iterator[tuple[int, int | str, Pose]]:
    """Position, image and pose of each result."""
    for position, (image, person) in enumerate(entries(path)):
        where, count = f"result {position}", len(person["keypoints"]) // 3
        if count not in CONVERSIONS:
            raise error(path, where, f"{' or '.join(map(str, CONVERSIONS))} keypoints", f"{count}")
        values_K3 = parse_keypoints(person["keypoints"], path=path, where=where, num_joints=count)
        yield position, image, _pose(values_K3, np.clip(values_K3[:, 2], 0, 1), CONVERSIONS[count])


def _pose(
    values_K3: Float[np.ndarray, "K 3"], confidence_K: Float[np.ndarray, "K"], conversion: Conversion = COCO17_TO_H36M17
) -> Pose:
    count = len(conversion.source_joints)
    return conversion.convert(values_K3[None, :count, :2], confidence_K[None, :count])


def _label_confidence(label_K: Float[np.ndarray, "K"], path: str, where: str) -> Float[np.ndarray, "K"]:
    """Confidences for visibilities 0, 1, 2; fractions from 0 to 1 are scores and returned as they are."""
    if np.all(np.isin(label_K, (0, 1, 2))):
        return np.where(label_K == 1, HIDDEN_CONFIDENCE, label_K / 2).astype(np.float32)
    if label_K.min() < 0 or label_K.max() > 1:
        raise error(path, where, "visibilities 0, 1 or 2, or scores from 0 to 1", str(label_K.tolist())[:120])
    return label_K


def _source(path: str) -> Source:
    return COCO if _PUBLISHED.search(path) else COCO_LAYOUT
