"""PYSKL and MMAction2 pickles: the skeletons of a whole action data set in one file, in 2D or in 3D.

``{"split": {name: [frame_dir]}, "annotations": [annotation]}``, or only the list of annotations, or a single one, as
earlier versions of MMAction2 wrote (PYSKL, tools/data/README.md). An annotation has ``frame_dir``, ``label``,
``total_frames`` and ``keypoint`` (people, frames, joints, coordinates): pixels of COCO's 17 joints with
``keypoint_score`` and ``img_shape``, which is (height, WIDTH); or metres of the Kinect v2's 25 joints, Y up, camera
space, where lost joints are at 0 and frames without tracked people were removed. Values are float16: a precision of 1
pixel above 1024, and of 2 mm at a Kinect's distance of 2 to 4 m. The file is read through the allow-list of
``pickles.py``.

Each person is one sequence, from the first frame to the last in which the person is observed. Scores are reordered with
their joints (the published system leaves them in COCO's order: MotionBERT, issue 132). In 2D the order of people may
change from one frame to the next: it is restored by distance.

NTU RGB+D names its people, from which the cross-subject lists follow. Other data sets do not: the file's own test list
(``val``, ``test``; the first of several splits) is held out, as one subject.

Classes other than NTU's have numbers without names, which differ between data sets. So the action is the number with
the data set's name, taken from the file name without the parts that tell how it was made (`gym_hrnet`, `gym_val`,
`gym_2d`: `gym class 3`); the label is empty, since the source has no names that it could index.

Shapes: M people, T frames, K joints as published, J = 17 joints.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from datasets.assembly.path_rules import Identity
from datasets.containers import pickles
from datasets.files import head
from datasets.joints.kinect import V2_TO_H36M17
from datasets.joints.tables import COCO17_TO_H36M17, FARTHEST, is_seen, to_canonical
from datasets.readers.action.ntu import NTU, SAMPLE
from datasets.readers.action.ntu import identify as identify_sample
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float
from motion_encoder.skeletons import Conversion

ASSUMED_FPS = 30.0
HELD_OUT = "pyskl/test"
"""The subject for all people in the file's test list, who are not named."""
PYSKL = Source(
    name="pyskl",
    kind="action",
    licence_note="the videos' terms; the skeletons: Apache-2.0",
    url="https://github.com/kennymckormick/pyskl/blob/main/tools/data/README.md",
    test_subjects=frozenset({HELD_OUT}),
)
SOURCES = (PYSKL,)
HELD_OUT_LISTS = (("xsub_val",), ("val", "test"), ("val1", "test1"))
"""Names of the lists that are held out: those of the first row that occurs in the file."""
_HOW_MADE = re.compile(r"(?:[_-](?:train|val|test|hrnet|2d|3d|3danno))+$", re.IGNORECASE)
CONVERSIONS: dict[tuple[int, int], Conversion] = {(17, 2): COCO17_TO_H36M17, (25, 3): V2_TO_H36M17}


class PysklReader:
    """Reads a pickle of annotations; each person of each annotation is one sequence."""

    name = "pyskl"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim pickles whose first bytes contain the keys of the format."""
        return [
            Recording(path=file.path, reader=self.name, source=_source_of(file), size=file.size)
            for file in files
            if looks_like_annotations(head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the people of one annotation after the other, and free each annotation after it is read."""
        path = recording.path
        annotations, splits = _contents(pickles.load(path), path)
        held_out = _held_out(splits, path)
        annotations.reverse()
        for number in range(len(annotations)):
            yield from _sequences(annotations.pop(), number, recording, held_out)


READER = PysklReader()


def looks_like_annotations(start: bytes) -> bool:
    """Tell whether the first keys of a pickled dictionary, or list of dictionaries, are those of the format."""
    if not start.startswith(b"\x80"):
        return False
    beginning = start[:128]
    if (split := _key(b"split").search(beginning)) is not None:
        return re.search(rb"train|val|test", start[split.end() : split.end() + 64]) is not None
    annotated = any(
        _key(name).search(start) for name in (b"frame_dir", b"total_frames", b"keypoint_score", b"keypoint")
    )
    if _key(b"annotations").search(beginning):
        return annotated
    return _key(b"keypoint").search(beginning) is not None or (
        _key(b"frame_dir").search(beginning) is not None and annotated
    )


def _key(name: bytes) -> re.Pattern[bytes]:
    """A pattern for exactly this string, as the pickle protocols from 2 on write it."""
    length = re.escape(bytes([len(name)]))
    return re.compile(rb"(?:[\x8cU]" + length + rb"|X" + length + rb"\x00\x00\x00)" + name, re.DOTALL)


def _source_of(file: File) -> Source:
    of_ntu = SAMPLE.search(head(file).decode("latin-1")) or "ntu" in PurePosixPath(file.path).stem.lower()
    return NTU if of_ntu else PYSKL


def _contents(data: Any, path: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the annotations and the split lists; for a file without lists, the one that its name states."""
    if isinstance(data, dict) and isinstance(data.get("annotations"), list):
        splits = data.get("split", {})
        return data["annotations"], splits if isinstance(splits, dict) else {}
    annotations = data if isinstance(data, list) else [data]
    stem = PurePosixPath(path).stem.lower()
    names = [str(each.get("frame_dir")) for each in annotations if isinstance(each, dict)]
    return annotations, {"val": names} if stem.endswith(("val", "test")) else {}


def _held_out(splits: dict[str, Any], path: str) -> frozenset[str]:
    for names in HELD_OUT_LISTS:
        if lists := [splits[name] for name in names if isinstance(splits.get(name), list | tuple | set)]:
            return frozenset(str(each) for names in lists for each in names)
    if unknown := sorted(str(name) for name in splits if "train" not in str(name)):
        expected = " or ".join(name for names in HELD_OUT_LISTS for name in names)
        raise _error(path, "split", f"a list named {expected}", ", ".join(unknown))
    return frozenset()


def _sequences(
    annotation: Any, number: int, recording: Recording, held_out: frozenset[str]
) -> Iterator[MotionSequence]:
    where = f"annotation {number}"
    keypoint_MTKC, score_MTK, repairs = _people(annotation, recording.path, where)
    conversion = CONVERSIONS[keypoint_MTKC.shape[2], keypoint_MTKC.shape[3]]
    flat = keypoint_MTKC.shape[-1] == 2
    size = _image_size(annotation, recording.path, where) if flat else None
    who = _identity(recording, str(annotation.get("frame_dir", number)), annotation.get("label"), held_out)
    for person, (keypoint_TKC, score_TK) in enumerate(zip(keypoint_MTKC, score_MTK, strict=True)):
        frame_N = np.flatnonzero(is_seen(keypoint_TKC).any(axis=1))
        if frame_N.size == 0:
            continue
        there = slice(int(frame_N[0]), int(frame_N[-1]) + 1)
        positions_TJC, confidence_TJ = to_canonical(conversion, keypoint_TKC[there], score_TK[there])
        yield MotionSequence(
            source=recording.source,
            sequence_id=f"{who.sequence_id}#{person}",
            subject=who.subject,
            action=who.action,
            label=who.label,
            fps=ASSUMED_FPS,
            keypoints_2d_TJC=positions_TJC if flat else None,
            keypoints_3d_TJC=None if flat else positions_TJC,
            confidence_TJ=confidence_TJ,
            image_size=size,
            repairs=(f"frame rate not stated: {ASSUMED_FPS:g} Hz assumed", *repairs),
        )


def _identity(recording: Recording, name: str, label: Any, held_out: frozenset[str]) -> Identity:
    stem = PurePosixPath(recording.path).stem
    sequence_id = f"{stem}/{name}"
    if recording.source == NTU:
        sample = identify_sample(name)
        return Identity(
            source=NTU,
            sequence_id=sequence_id,
            subject=sample.subject,
            action=sample.action,
            label=sample.label,
        )
    return Identity(
        source=PYSKL,
        sequence_id=sequence_id,
        subject=HELD_OUT if name in held_out else f"pyskl/{name}",
        action=None if label is None else f"{_HOW_MADE.sub('', stem)} class {label}",
    )


def _people(
    annotation: Any, path: str, where: str
) -> tuple[Float[np.ndarray, "M T K C"], Float[np.ndarray, "M T K"], tuple[str, ...]]:
    """Return the joints and scores of all people, and the repairs."""
    if not isinstance(annotation, dict) or "keypoint" not in annotation:
        kinetics = isinstance(annotation, dict) and "raw_file" in annotation
        found = "the name of another file that contains them" if kinetics else _shown(annotation)
        raise _error(path, where, "a dictionary with keypoint", found)
    keypoint_MTKC = _numbers(annotation["keypoint"], path, f"{where}: keypoint")
    if keypoint_MTKC.ndim != 4 or keypoint_MTKC.shape[2:] not in CONVERSIONS:
        expected = "people x frames x 17 joints in 2D, or x 25 joints in 3D"
        raise _error(path, f"{where}: keypoint", expected, f"{keypoint_MTKC.shape}")
    people, frames = keypoint_MTKC.shape[:2]
    if annotation.get("total_frames", frames) != frames:
        raise _error(path, f"{where}: keypoint", f"{_shown(annotation['total_frames'])} frames", f"{frames}")
    if keypoint_MTKC.shape[-1] == 3:
        return keypoint_MTKC, np.ones(keypoint_MTKC.shape[:3]), ()
    if "keypoint_score" in annotation:
        score_MTK, repairs = _numbers(annotation["keypoint_score"], path, f"{where}: keypoint_score"), ()
    else:
        score_MTK, repairs = np.ones(keypoint_MTKC.shape[:3]), ("no scores: all joints taken for certain",)
    if score_MTK.shape != keypoint_MTKC.shape[:3]:
        raise _error(path, f"{where}: keypoint_score", f"{keypoint_MTKC.shape[:3]}", f"{score_MTK.shape}")
    slot_TM, exchanges = _track_slots(keypoint_MTKC)
    if exchanges:
        repairs += (f"people traded places {exchanges} times: put back by nearness",)
    frame_T = np.arange(frames)
    order_MT = (slot_TM.T, frame_T[None].repeat(people, axis=0))
    return keypoint_MTKC[order_MT], score_MTK[order_MT], repairs


def _track_slots(keypoint_MTKC: Float[np.ndarray, "M T K C"]) -> tuple[np.ndarray, int]:
    """Return the slot of each person in each frame, and the number of changes.

    Slots are permuted in a frame if this reduces the summed distance of its people from where they were last.
    """
    people, frames = keypoint_MTKC.shape[:2]
    slot_TM = np.tile(np.arange(people), (frames, 1))
    there_MT = (np.abs(keypoint_MTKC) < FARTHEST).all(axis=(2, 3)) & (keypoint_MTKC != 0).any(axis=(2, 3))
    last_MKC = np.zeros((people, *keypoint_MTKC.shape[2:]))
    known_M = np.zeros(people, bool)
    slot_M = np.arange(people)
    exchanges = 0
    for t in range(frames if people > 1 else 0):
        known_P = np.flatnonzero(known_M & there_MT[slot_M, t])
        here_P = slot_M[known_P]
        cost_PP = np.linalg.norm(last_MKC[known_P][:, None] - keypoint_MTKC[here_P, t][None], axis=-1).mean(axis=-1)
        best_P = linear_sum_assignment(cost_PP)[1]
        if cost_PP[np.arange(len(best_P)), best_P].sum() < cost_PP.trace():
            slot_M[known_P] = here_P[best_P]
            exchanges += 1
        slot_TM[t] = slot_M
        there_M = there_MT[slot_M, t]
        last_MKC[there_M] = keypoint_MTKC[slot_M[there_M], t]
        known_M |= there_M
    return slot_TM, exchanges


def _numbers(values: Any, path: str, where: str) -> Float[np.ndarray, "..."]:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise _error(path, where, "an array of numbers", _shown(values))
    return values.astype(np.float64)


def _image_size(annotation: dict[str, Any], path: str, where: str) -> tuple[int, int] | None:
    """Return (width, height) from ``img_shape``, which is (height, width)."""
    shape = annotation.get("img_shape")
    if shape is None:
        return None
    try:
        height, width = (int(side) for side in shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise _error(path, f"{where}: img_shape", "height and width", _shown(shape)) from error
    return width, height


def _shown(value: Any) -> str:
    return f"a dictionary of {sorted(map(str, value))}"[:200] if isinstance(value, dict) else f"{value!r}"[:80]


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    fix = "Take a file that PYSKL or MMAction2 publish (not the table of contents of Kinetics), or write one like it."
    return RecordingError(path, where=where, expected=expected, found=found, fix=fix)
